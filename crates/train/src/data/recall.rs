//! Sequences of token ids in which some tokens follow from earlier ones: the token tasks, as sources.

use headwise_tasks::{
    Copying, Induction, KeyValueRecall, MultiQueryRecall, PhoneBook, SelectiveCopying, TaskError, Transliteration,
};

use super::task::TokenTaskSpec;

headwise_spec::method! {
    /// Multi-query associative recall: key-value pairs, then keys whose values are asked for.
    ///
    /// Arora et al. 2023, arXiv:2312.04927.
    pub struct MultiQueryRecallSpec {
        /// Key-value pairs.
        pub pairs: usize = 16,
        /// Keys asked for; none asks for all.
        pub queries: Option<usize> = None,
        /// Tokens that there are: one filler, then as many keys as values.
        pub vocabulary: u32 = 129,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Key-value pairs scattered among fillers, then one of the keys: which value was it?
    pub struct KeyValueRecallSpec {
        /// Pairs that are not asked for.
        pub distractors: usize = 15,
        /// Tokens that there are: one filler, then as many keys as values.
        pub vocabulary: u32 = 129,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Fillers with one pair of tokens, whose first comes again at the end: what followed it?
    ///
    /// Olsson et al. 2022, arXiv:2209.11895.
    pub struct InductionSpec {
        /// Tokens that there are.
        pub vocabulary: u32 = 256,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Random tokens, then the same again; as many as fit the length.
    pub struct CopyingSpec {
        /// Tokens that there are, the sign that ends the first part included.
        pub vocabulary: u32 = 65,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Random tokens scattered among fillers, then the same without the fillers.
    ///
    /// Gu and Dao 2023, arXiv:2312.00752.
    pub struct SelectiveCopyingSpec {
        /// Tokens that there are, separator and filler included.
        pub vocabulary: u32 = 66,
        /// Tokens to remember.
        pub items: usize = 16,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Lines of names with their numbers, then some of the names again, whose numbers are asked for; tokens are bytes.
    ///
    /// Jelassi et al. 2024, arXiv:2402.01032.
    pub struct PhoneBookSpec {
        /// Lines of the book; none takes as many as are sure to fit.
        pub entries: Option<usize> = None,
        /// Names asked for.
        pub queries: usize = 1,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Lines of words, each with the same words in another script under it; as many as fit the length, the last one cut.
    pub struct TransliterationSpec {
        /// Tokens that there are: ends of lines, two labels, then the words of every script.
        pub vocabulary: u32 = 131,
        /// 2, or 1 if words are spelled the same under them.
        pub scripts: usize = 2,
        /// Fewest words of a line.
        pub least: usize = 2,
        /// Most words of a line.
        pub most: usize = 12,
        /// Fewest tokens of a text: texts have random lengths from this on, as many as fit; none makes one that is as long as may be.
        pub shortest: Option<usize> = None,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl TokenTaskSpec for MultiQueryRecallSpec {
    type Task = MultiQueryRecall;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<MultiQueryRecall, TaskError> {
        let queries = self.queries.unwrap_or(self.pairs);
        Ok(MultiQueryRecall { vocabulary: 0..self.vocabulary, pairs: self.pairs, queries, length })
    }
}

impl TokenTaskSpec for KeyValueRecallSpec {
    type Task = KeyValueRecall;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<KeyValueRecall, TaskError> {
        Ok(KeyValueRecall { vocabulary: 0..self.vocabulary, length, distractors: self.distractors, depth: None })
    }
}

impl TokenTaskSpec for InductionSpec {
    type Task = Induction;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<Induction, TaskError> {
        Ok(Induction { vocabulary: 0..self.vocabulary, length, position: None })
    }
}

impl TokenTaskSpec for CopyingSpec {
    type Task = Copying;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<Copying, TaskError> {
        Ok(Copying { vocabulary: 0..self.vocabulary, items: length / 2 })
    }
}

impl TokenTaskSpec for SelectiveCopyingSpec {
    type Task = SelectiveCopying;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<SelectiveCopying, TaskError> {
        let length = length.saturating_sub(self.items.saturating_add(1));
        Ok(SelectiveCopying { vocabulary: 0..self.vocabulary, items: self.items, length })
    }
}

impl TokenTaskSpec for PhoneBookSpec {
    type Task = PhoneBook;

    /// The bytes.
    fn vocabulary(&self) -> u32 {
        256
    }

    fn task(&self, length: usize) -> Result<PhoneBook, TaskError> {
        // A name that is asked for is a line of the book and one after it.
        let needed = self.queries.saturating_mul(2 * PhoneBook::LONGEST_LINE);
        let entries = match self.entries {
            Some(entries) => entries,
            None if length < needed => return Err(TaskError::TooShort { task: "phone_book", length, needed }),
            None => length / PhoneBook::LONGEST_LINE - self.queries,
        };
        Ok(PhoneBook { entries, queries: self.queries })
    }
}

impl TokenTaskSpec for TransliterationSpec {
    type Task = Transliteration;

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn task(&self, length: usize) -> Result<Transliteration, TaskError> {
        let Self { vocabulary, scripts, least, most, .. } = *self;
        Ok(Transliteration { vocabulary: 0..vocabulary, scripts, words: least..=most, length })
    }

    fn shortest(&self) -> Option<usize> {
        self.shortest
    }
}

#[cfg(test)]
mod tests {
    use headwise_tasks::TokenTask;

    use super::super::task::tests::{asked, asks_what_is_solved};
    use super::super::{Codec, Slot, SourceMethod};
    use super::*;

    #[test]
    fn answers_are_the_solver_s() {
        asks_what_is_solved(&MultiQueryRecallSpec::default(), 64);
        asks_what_is_solved(&KeyValueRecallSpec::default(), 64);
        asks_what_is_solved(&InductionSpec::default(), 64);
        asks_what_is_solved(&CopyingSpec::default(), 64);
        asks_what_is_solved(&SelectiveCopyingSpec::default(), 64);
        asks_what_is_solved(&PhoneBookSpec { queries: 2, ..PhoneBookSpec::default() }, 200);
        asks_what_is_solved(&TransliterationSpec::default(), 64);
        asks_what_is_solved(&PhoneBookSpec { entries: Some(3), ..PhoneBookSpec::default() }, 200);
    }

    #[test]
    fn texts_of_random_lengths_fill_a_sequence() {
        let spec = TransliterationSpec { shortest: Some(16), ..TransliterationSpec::default() };
        let source = spec.open(&Codec::Bytes).unwrap();
        let mut lengths = std::collections::HashSet::new();
        for index in 0..20 {
            let slot = Slot { seed: 4, stage: 0, step: 9, index, length: 96 };
            let documents = source.documents(&slot, index, &Codec::Bytes).unwrap();
            assert_eq!(documents, source.documents(&slot, index, &Codec::Bytes).unwrap());
            let tokens: usize = documents.iter().map(|document| document.ids.len()).sum();
            assert!((81..=96).contains(&tokens), "{tokens}");
            for document in documents {
                let task = spec.task(document.ids.len()).unwrap();
                assert_eq!(asked(&document), task.solve(&document.ids));
                lengths.insert(document.ids.len());
            }
        }
        assert!(lengths.len() > 20 && lengths.iter().all(|length| (16..=96).contains(length)), "{lengths:?}");
        let error = source.documents(&Slot { seed: 4, stage: 0, step: 9, index: 0, length: 9 }, 0, &Codec::Bytes);
        assert!(error.unwrap_err().to_string().contains("at 9 tokens"));
    }

    #[test]
    fn a_book_has_as_many_lines_as_fit() {
        let task = PhoneBookSpec::default().task(270).unwrap();
        assert_eq!((task.entries, task.queries), (9, 1));
        let error = PhoneBookSpec::default().task(53).unwrap_err().to_string();
        assert!(error.contains("53 tokens") && error.contains("take 54"), "{error}");
    }
}

//! Formal languages as sources: Dyck words, and Markov chains, whose least possible loss is known.

use headwise_tasks::{Dyck, MarkovSource, TaskError};

use super::task::{TokenTaskSpec, made, seed};
use super::{Codec, DataError, Slot, Source, SourceMethod};
use crate::objective::Document;

headwise_spec::method! {
    /// Nested brackets of several kinds: wherever one closes, which kind?
    ///
    /// Hewitt et al. 2020, arXiv:2010.07515.
    pub struct DyckSpec {
        /// Kinds of brackets; kind `i` opens with token `i` and closes with token `kinds + i`.
        pub kinds: u32 = 8,
        /// Most brackets that are open at once.
        pub max_depth: usize = 8,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl TokenTaskSpec for DyckSpec {
    type Task = Dyck;

    fn vocabulary(&self) -> u32 {
        self.kinds.saturating_mul(2)
    }

    fn task(&self, length: usize) -> Result<Dyck, TaskError> {
        let vocabulary = 0..TokenTaskSpec::vocabulary(self);
        Ok(Dyck { vocabulary, max_depth: self.max_depth, length: length - length % 2 })
    }
}

headwise_spec::method! {
    /// Tokens that depend on the few before them by a table of random probabilities. No loss is below the entropy rate of the table.
    ///
    /// Shannon 1948.
    pub struct MarkovSpec {
        /// Tokens that there are.
        pub alphabet: usize = 8,
        /// Tokens that the next one depends on.
        pub order: usize = 2,
        /// How even the probabilities are; 1 draws all tables alike, more makes them more even.
        pub concentration: usize = 1,
        /// Where the table comes from.
        pub table: u64 = 0,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

/// A drawn table, and how many tokens it needs to know the probabilities of the next.
#[derive(Clone, Debug)]
struct Chain {
    source: MarkovSource,
    order: usize,
}

impl Chain {
    /// Asks for every token whose probabilities are known.
    fn document(&self, slot: &Slot) -> Result<Document, TaskError> {
        let (length, needed) = (slot.length, self.order);
        if length < needed {
            return Err(TaskError::TooShort { task: "markov", length, needed });
        }
        let mut document = Document::text(&self.source.sequence(length.saturating_add(1), seed(slot))?);
        document.weights[..self.order - 1].fill(0.0);
        Ok(document)
    }
}

impl SourceMethod for MarkovSpec {
    fn vocabulary(&self) -> Option<u32> {
        u32::try_from(self.alphabet).ok()
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        let source = MarkovSource::new(self.alphabet, self.order, self.concentration, self.table)?;
        made(&Chain { source, order: self.order }, Chain::document)
    }
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::asks_what_is_solved;
    use super::*;

    #[test]
    fn brackets_close_as_the_solver_says() {
        for length in [2, 63, 64] {
            asks_what_is_solved(&DyckSpec::default(), length);
        }
        asks_what_is_solved(&DyckSpec { kinds: 1, max_depth: 2, ..DyckSpec::default() }, 30);
    }

    /// The best predictor loses the entropy rate over what is asked.
    #[test]
    fn what_is_asked_has_the_least_loss() {
        let spec = MarkovSpec { alphabet: 6, order: 3, ..MarkovSpec::default() };
        let table = MarkovSource::new(6, 3, 1, 0).unwrap();
        let source = spec.open(&Codec::Bytes).unwrap();
        let (mut loss, mut count) = (0.0, 0.0);
        for index in 0..200 {
            let slot = Slot { seed: 1, stage: 0, step: 0, index, length: 200 };
            let [document] = source.documents(&slot, index, &Codec::Bytes).unwrap().try_into().unwrap();
            assert_eq!(document.ids[1..], document.answers[..199]);
            for (place, (&answer, &weight)) in document.answers.iter().zip(&document.weights).enumerate() {
                assert_eq!(weight > 0.0, place >= 2);
                if let Some(known) = table.next_probabilities(&document.ids[..=place]) {
                    loss -= known[answer as usize].ln();
                    count += 1.0;
                }
            }
        }
        let floor = table.entropy_rate();
        assert!((loss / count - floor).abs() < 0.02, "{}, {floor}", loss / count);
        let short = Slot { seed: 1, stage: 0, step: 0, index: 0, length: 2 };
        assert!(source.documents(&short, 0, &Codec::Bytes).unwrap_err().to_string().contains("at 2 tokens"));
        assert!(MarkovSpec { alphabet: 1, ..spec }.open(&Codec::Bytes).unwrap_err().to_string().contains("alphabet"));
    }
}

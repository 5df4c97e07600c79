//! Sequences of token ids in which some tokens follow from earlier ones: the token tasks, as sources.

use headwise_tasks::{Copying, Induction, MultiQueryRecall, SelectiveCopying, TokenTask};
use rand::RngExt;

use super::{DataError, Slot};
use crate::draws::{Purpose, draws};
use crate::objective::Document;

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

impl MultiQueryRecallSpec {
    pub(super) fn task(&self, length: usize) -> MultiQueryRecall {
        let queries = self.queries.unwrap_or(self.pairs);
        MultiQueryRecall { vocabulary: 0..self.vocabulary, pairs: self.pairs, queries, length }
    }
}

impl InductionSpec {
    pub(super) fn task(&self, length: usize) -> Induction {
        Induction { vocabulary: 0..self.vocabulary, length, position: None }
    }
}

impl CopyingSpec {
    pub(super) fn task(&self, length: usize) -> Copying {
        Copying { vocabulary: 0..self.vocabulary, items: length / 2 }
    }
}

impl SelectiveCopyingSpec {
    pub(super) fn task(&self, length: usize) -> SelectiveCopying {
        let length = length.saturating_sub(self.items + 1);
        SelectiveCopying { vocabulary: 0..self.vocabulary, items: self.items, length }
    }
}

/// A sequence of `task`, asked for where the task asks.
pub(super) fn document(task: &impl TokenTask, slot: &Slot) -> Result<Document, DataError> {
    let sample = task.sample(draws(slot.seed, Purpose::Document, slot.step, slot.index).random())?;
    let count = sample.tokens.len();
    let mut document = Document { ids: sample.tokens, answers: vec![0; count], weights: vec![0.0; count] };
    for query in sample.queries {
        document.answers[query.position] = query.answer;
        document.weights[query.position] = 1.0;
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_solver_s() {
        let slot = Slot { seed: 4, stage: 0, step: 9, index: 2, length: 64 };
        let task = MultiQueryRecallSpec::default().task(64);
        let document = document(&task, &slot).unwrap();
        assert_eq!(document.ids.len(), 64);
        let asked: Vec<u32> = document
            .answers
            .iter()
            .zip(&document.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(&id, _)| id)
            .collect();
        assert_eq!(asked, task.solve(&document.ids));
        assert_eq!(asked.len(), 16);
    }

    #[test]
    fn a_length_that_is_too_short_is_an_error() {
        let slot = Slot { seed: 4, stage: 0, step: 9, index: 2, length: 8 };
        assert!(document(&MultiQueryRecallSpec::default().task(8), &slot).is_err());
        assert!(document(&SelectiveCopyingSpec::default().task(8), &slot).is_err());
    }
}

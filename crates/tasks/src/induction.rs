//! Induction: `… A B … A` is continued by `B`, the completion that a previous-token head and a match head make.
//!
//! `A` stands twice, `B` once, everything else is random filler that is neither, so exactly one earlier slot holds the
//! answer: a model that keeps that slot is right, one that lost it cannot know. Olsson et al. 2022, arXiv:2209.11895.

use std::ops::Range;

use rand::RngExt;
use rand::seq::index;

use crate::random::seeded;
use crate::sequence::{TokenQuery, TokenSample, TokenTask, follower};
use crate::task::{TaskError, within};

/// One pair to complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Induction {
    /// Token ids of `A`, `B` and the filler.
    pub vocabulary: Range<u32>,
    /// Number of tokens, both `A` included.
    pub length: usize,
    /// Slot of the first `A`, at most `length - 3`; `None` draws it. `B` is in the next slot.
    pub position: Option<usize>,
}

impl Default for Induction {
    /// 128 tokens out of 256, the pair anywhere.
    fn default() -> Self {
        Self { vocabulary: 0..256, length: 128, position: None }
    }
}

impl TokenTask for Induction {
    fn name(&self) -> &'static str {
        "induction"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "length", self.length, 3, crate::MAX_LENGTH)?;
        within(self.name(), "vocabulary", self.vocabulary.len(), 3, u32::MAX as usize)?;
        let mut rng = seeded(seed);
        let drawn = rng.random_range(0..=self.length - 3);
        let position = self.position.unwrap_or(drawn);
        within(self.name(), "position", position, 0, self.length - 3)?;

        let pair = index::sample(&mut rng, self.vocabulary.len(), 2);
        let [a, b] = [0, 1].map(|which| self.vocabulary.start + pair.index(which) as u32);
        let filler = self.vocabulary.start..self.vocabulary.end - 2;
        let mut tokens: Vec<u32> =
            (0..self.length).map(|_| skip(rng.random_range(filler.clone()), a.min(b), a.max(b))).collect();
        tokens[position] = a;
        tokens[position + 1] = b;
        tokens[self.length - 1] = a;
        let query = TokenQuery { position: self.length - 1, answer: b, source: position + 1 };
        Ok(TokenSample { tokens, queries: vec![query] })
    }

    /// The token after the earlier occurrence of the last one.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        follower(tokens).into_iter().collect()
    }
}

/// The `token`-th token when `low < high` are left out of the vocabulary.
fn skip(token: u32, low: u32, high: u32) -> u32 {
    let token = token + u32::from(token >= low);
    token + u32::from(token >= high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_is_neither_a_nor_b_and_uses_all_else() {
        let task = Induction { vocabulary: 7..12, length: 400, position: Some(100) };
        for seed in 0..20 {
            let TokenSample { tokens, queries } = task.sample(seed).unwrap();
            let (a, b) = (tokens[100], tokens[101]);
            assert_eq!((a, b), (tokens[399], queries[0].answer));
            assert_eq!(queries[0].source, 101);
            let count = |wanted| tokens.iter().filter(|&&token| token == wanted).count();
            assert_eq!((count(a), count(b)), (2, 1));
            let others = (7..12).filter(|&token| token != a && token != b);
            assert!(others.into_iter().all(|token| count(token) > 50));
        }
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |task: Induction| task.sample(0).unwrap_err().to_string();
        let task = Induction::default();
        assert!(error(Induction { position: Some(126), ..task.clone() }).contains("0..=125"));
        assert!(error(Induction { length: 2, ..task.clone() }).contains("length = 2"));
        assert!(error(Induction { vocabulary: 0..2, ..task }).contains("vocabulary = 2"));
    }
}

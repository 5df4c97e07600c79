//! Key-value recall: key-value pairs scattered in filler, then one of the keys; predict its value.
//!
//! The token form of a needle test: `… K₃ V₃ … K₁ V₁ … K₂ V₂ … K₁ → V₁`. All keys and values differ.

use std::ops::Range;

use rand::RngExt;
use rand::seq::index;

use crate::random::seeded;
use crate::sequence::{Roles, TokenQuery, TokenSample, TokenTask, follower};
use crate::task::{TaskError, within};

/// One pair to recall among distractor pairs and filler.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValueRecall {
    /// Token ids: the first is the filler, the next half are keys, the rest values.
    pub vocabulary: Range<u32>,
    /// Number of tokens, the query included.
    pub length: usize,
    /// Pairs that are not asked for.
    pub distractors: usize,
    /// Share of the pairs and fillers before the queried pair, 0 to 1; `None` draws the place.
    pub depth: Option<f32>,
}

impl Default for KeyValueRecall {
    /// 15 distractors in 128 tokens of a vocabulary of 129.
    fn default() -> Self {
        Self { vocabulary: 0..129, length: 128, distractors: 15, depth: None }
    }
}

impl TokenTask for KeyValueRecall {
    fn name(&self) -> &'static str {
        "key_value_recall"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        let most = self.length.saturating_sub(3) / 2;
        within(self.name(), "length", self.length, 3, crate::MAX_LENGTH)?;
        within(self.name(), "distractors", self.distractors, 0, most)?;
        let roles = Roles::of(self.name(), &self.vocabulary, self.distractors + 1)?;
        if let Some(depth) = self.depth.filter(|depth| !(0.0..=1.0).contains(depth)) {
            return Err(TaskError::Depth { depth });
        }

        let mut rng = seeded(seed);
        let pairs = self.distractors + 1;
        // A cell is a pair or one filler token; the queried pair is one of them.
        let cells = self.length - 1 - pairs;
        let random: f64 = rng.random();
        let queried = match self.depth {
            Some(depth) => (f64::from(depth) * (cells - 1) as f64).round() as usize,
            None => (random * cells as f64) as usize,
        };
        let mut is_pair = vec![false; cells];
        for cell in index::sample(&mut rng, cells - 1, self.distractors) {
            is_pair[cell + usize::from(cell >= queried)] = true;
        }
        is_pair[queried] = true;
        let keys = index::sample(&mut rng, roles.keys.len(), pairs);
        let values = index::sample(&mut rng, roles.values.len(), pairs);
        let mut pairs = keys.into_iter().zip(values);

        let mut tokens = Vec::with_capacity(self.length);
        let mut source = 0;
        for (cell, is_pair) in is_pair.into_iter().enumerate() {
            let Some((key, value)) = is_pair.then(|| pairs.next()).flatten() else {
                tokens.push(roles.filler);
                continue;
            };
            tokens.push(roles.keys.start + key as u32);
            tokens.push(roles.values.start + value as u32);
            if cell == queried {
                source = tokens.len() - 1;
            }
        }
        let answer = tokens[source];
        tokens.push(tokens[source - 1]);
        let query = TokenQuery { position: tokens.len() - 1, answer, source };
        Ok(TokenSample { tokens, queries: vec![query] })
    }

    /// The token after the earlier occurrence of the last one.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        follower(tokens).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_stands_at_its_depth() {
        let source = |depth| {
            let task = KeyValueRecall { depth: Some(depth), ..KeyValueRecall::default() };
            task.sample(3).unwrap().queries[0].source
        };
        assert_eq!(source(0.0), 1);
        assert_eq!(source(1.0), 126);
        assert!((40..90).contains(&source(0.5)));
    }

    #[test]
    fn pairs_differ_and_the_rest_is_filler() {
        let sample = KeyValueRecall::default().sample(8).unwrap();
        let mut seen: Vec<u32> = sample.tokens[..127].iter().copied().filter(|&t| t > 0).collect();
        assert_eq!(seen.len(), 32);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 32);
    }

    #[test]
    fn impossible_parameters_are_named() {
        let task = KeyValueRecall::default();
        let error = |task: KeyValueRecall| task.sample(0).unwrap_err().to_string();
        assert!(error(KeyValueRecall { distractors: 63, ..task.clone() }).contains("0..=62"));
        assert!(error(KeyValueRecall { length: 2, ..task.clone() }).contains("length = 2"));
        assert!(error(KeyValueRecall { vocabulary: 0..32, ..task.clone() }).contains("33.."));
        assert!(error(KeyValueRecall { depth: Some(1.5), ..task }).contains("depth 1.5"));
    }
}

//! Multi-query associative recall (MQAR): pairs first, then some of their keys again; predict the value at each.
//!
//! `K₁ V₁ … Kₙ Vₙ · K₂ · · K₁ …`: the queried keys stand at random places of the rest, which is otherwise filler.
//! With `queries = pairs` and `length = 3 pairs` there is no filler. Arora et al. 2023, arXiv:2312.04927.

use std::collections::HashMap;
use std::ops::Range;

use rand::seq::index;

use crate::random::seeded;
use crate::sequence::{Roles, TokenQuery, TokenSample, TokenTask};
use crate::task::{TaskError, within};

/// Pairs, and several questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiQueryRecall {
    /// Token ids: the first is the filler, the next half are keys, the rest values.
    pub vocabulary: Range<u32>,
    /// Number of key-value pairs, all of them different.
    pub pairs: usize,
    /// Number of keys asked for, each once.
    pub queries: usize,
    /// Number of tokens: `2 pairs + queries` or more.
    pub length: usize,
}

impl Default for MultiQueryRecall {
    /// 16 pairs, all asked for, without filler, 64 possible keys and values.
    fn default() -> Self {
        Self { vocabulary: 0..129, pairs: 16, queries: 16, length: 48 }
    }
}

impl TokenTask for MultiQueryRecall {
    fn name(&self) -> &'static str {
        "multi_query_recall"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "length", self.length, 3, crate::MAX_LENGTH)?;
        within(self.name(), "pairs", self.pairs, 1, (self.length - 1) / 2)?;
        let (start, pairs) = (2 * self.pairs, self.pairs);
        within(self.name(), "queries", self.queries, 1, pairs.min(self.length - start))?;
        let roles = Roles::of(self.name(), &self.vocabulary, pairs)?;

        let mut rng = seeded(seed);
        let mut tokens = vec![roles.filler; self.length];
        let keys = index::sample(&mut rng, roles.keys.len(), pairs);
        let values = index::sample(&mut rng, roles.values.len(), pairs);
        for (pair, (key, value)) in keys.into_iter().zip(values).enumerate() {
            tokens[2 * pair] = roles.keys.start + key as u32;
            tokens[2 * pair + 1] = roles.values.start + value as u32;
        }
        let asked = index::sample(&mut rng, pairs, self.queries);
        let places = index::sample(&mut rng, self.length - start, self.queries);
        let mut queries = Vec::with_capacity(self.queries);
        for (pair, place) in asked.into_iter().zip(places) {
            let (position, source) = (start + place, 2 * pair + 1);
            tokens[position] = tokens[2 * pair];
            queries.push(TokenQuery { position, answer: tokens[source], source });
        }
        queries.sort_by_key(|query| query.position);
        Ok(TokenSample { tokens, queries })
    }

    /// Reads the pairs, then answers every later key.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        let (pairs, rest) = tokens.split_at(tokens.len().min(self.pairs.saturating_mul(2)));
        let values: HashMap<u32, u32> = pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let keys = Roles::split(&self.vocabulary).keys;
        let asked = rest.iter().filter(|token| keys.contains(token));
        asked.filter_map(|key| values.get(key).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_filler_every_key_is_asked_for_once() {
        let sample = MultiQueryRecall::default().sample(5).unwrap();
        let mut keys: Vec<u32> = sample.tokens[..32].iter().copied().step_by(2).collect();
        let mut asked = sample.tokens[32..].to_vec();
        assert_ne!(keys, asked);
        keys.sort_unstable();
        asked.sort_unstable();
        assert_eq!(keys, asked);
        assert!(keys.iter().all(|key| (1..65).contains(key)));
    }

    #[test]
    fn impossible_parameters_are_named() {
        let task = MultiQueryRecall::default();
        let error = |task: MultiQueryRecall| task.sample(0).unwrap_err().to_string();
        assert!(error(MultiQueryRecall { queries: 17, ..task.clone() }).contains("1..=16"));
        assert!(error(MultiQueryRecall { length: 40, ..task.clone() }).contains("1..=8"));
        assert!(error(MultiQueryRecall { pairs: 24, ..task.clone() }).contains("1..=23"));
        assert!(error(MultiQueryRecall { vocabulary: 5..20, ..task }).contains("33.."));
    }
}

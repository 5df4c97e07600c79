//! Dyck words: nested brackets of several kinds, never deeper than a bound; name each closing bracket.
//!
//! `( [ ] { ( ) } )`: where a bracket closes, its kind is that of the last one still open, which can stand arbitrarily
//! far back. The shortest memory that suffices is a stack of `max_depth` kinds. Hewitt et al. 2020, arXiv:2010.07515.

use std::ops::Range;

use rand::RngExt;

use crate::random::seeded;
use crate::sequence::{TokenQuery, TokenSample, TokenTask};
use crate::task::{TaskError, within};

/// Words of Dyck-(k, m): k kinds of brackets, at most m of them open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dyck {
    /// Token ids: the first half opens, the second half closes in the same order of kinds.
    pub vocabulary: Range<u32>,
    /// Most brackets that are open at once.
    pub max_depth: usize,
    /// Number of brackets, even.
    pub length: usize,
}

impl Dyck {
    /// Number of kinds of brackets.
    fn kinds(&self) -> u32 {
        self.vocabulary.len() as u32 / 2
    }

    /// Whether a token closes a bracket.
    fn closes(&self, token: u32) -> bool {
        let start = self.vocabulary.start;
        token >= start && (self.kinds()..2 * self.kinds()).contains(&(token - start))
    }
}

impl Default for Dyck {
    /// 128 brackets of 8 kinds, at most 8 deep.
    fn default() -> Self {
        Self { vocabulary: 0..16, max_depth: 8, length: 128 }
    }
}

impl TokenTask for Dyck {
    fn name(&self) -> &'static str {
        "dyck"
    }

    /// Opens or closes with equal probability where both are possible.
    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "vocabulary", self.vocabulary.len(), 2, 1 << 31)?;
        within(self.name(), "length", self.length, 2, crate::MAX_LENGTH)?;
        within(self.name(), "length modulo 2", self.length % 2, 0, 0)?;
        within(self.name(), "max_depth", self.max_depth, 1, crate::MAX_LENGTH)?;
        let mut rng = seeded(seed);
        let mut tokens = Vec::with_capacity(self.length);
        let mut queries = Vec::with_capacity(self.length / 2);
        let mut open: Vec<usize> = Vec::new();
        for slot in 0..self.length {
            let may_open = open.len() < self.max_depth && open.len() < self.length - slot;
            match open.last() {
                Some(&source) if !may_open || rng.random() => {
                    open.pop();
                    let answer = self.answer_of(tokens[source]);
                    queries.push(TokenQuery { position: slot - 1, answer, source });
                    tokens.push(answer);
                }
                _ => {
                    open.push(slot);
                    tokens.push(self.vocabulary.start + rng.random_range(0..self.kinds()));
                }
            }
        }
        Ok(TokenSample { tokens, queries })
    }

    /// The bracket that closes `source`.
    fn answer_of(&self, source: u32) -> u32 {
        source.saturating_add(self.kinds())
    }

    /// Keeps a stack of open brackets; wherever one closes, it is the last.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        let mut open = Vec::new();
        let mut answers = Vec::new();
        for &token in tokens {
            match self.closes(token) {
                false => open.push(token),
                true => answers.extend(open.pop().map(|source| self.answer_of(source))),
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_balanced_and_reach_but_do_not_pass_the_depth() {
        let task = Dyck { vocabulary: 10..16, max_depth: 4, length: 60 };
        let mut deepest = 0;
        for seed in 0..100 {
            let sample = task.sample(seed).unwrap();
            assert_eq!((sample.tokens.len(), sample.queries.len()), (60, 30));
            let mut depth = 0_usize;
            for &token in &sample.tokens {
                assert!((10..16).contains(&token));
                depth = if token < 13 { depth + 1 } else { depth.checked_sub(1).unwrap() };
                deepest = deepest.max(depth);
            }
            assert_eq!(depth, 0);
            for query in &sample.queries {
                assert_eq!(sample.tokens[query.position + 1], query.answer);
            }
        }
        assert_eq!(deepest, 4);
    }

    /// Removes pairs of neighbours until nothing is left: another definition of the same language.
    #[test]
    fn words_reduce_to_nothing() {
        let task = Dyck::default();
        for seed in 0..50 {
            let mut word = task.sample(seed).unwrap().tokens;
            while let Some(place) = word.windows(2).position(|pair| pair[0] < 8 && pair[1] == pair[0] + 8) {
                word.drain(place..place + 2);
            }
            assert!(word.is_empty(), "seed {seed}: {word:?}");
        }
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |task: Dyck| task.sample(0).unwrap_err().to_string();
        let task = Dyck::default();
        assert!(error(Dyck { length: 7, ..task.clone() }).contains("length modulo 2 = 1"));
        assert!(error(Dyck { length: 0, ..task.clone() }).contains("length = 0"));
        assert!(error(Dyck { max_depth: 0, ..task.clone() }).contains("max_depth = 0"));
        assert!(error(Dyck { vocabulary: 3..4, ..task }).contains("vocabulary = 1"));
    }
}

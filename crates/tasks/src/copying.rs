//! Copying: repeat a sequence after a separator; selective copying: repeat only what is not filler.
//!
//! `a b c | a b` must be continued `a`, `b`, `c` from the separator on. In selective copying the data tokens are
//! scattered in filler, `· a · · b c · | a b`, so that a fixed distance does not find them.
//! Jing et al. 2019, arXiv:1706.02761; Gu and Dao 2023, arXiv:2312.00752.

use std::ops::Range;

use rand::RngExt;
use rand::seq::index;

use crate::random::seeded;
use crate::sequence::{TokenQuery, TokenSample, TokenTask};
use crate::task::{TaskError, within};

/// Repeat a whole sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// Token ids: the first is the separator, the others are data.
    pub vocabulary: Range<u32>,
    /// Number of data tokens; the sequence has twice as many.
    pub items: usize,
}

impl Default for Copying {
    /// 32 tokens out of 64.
    fn default() -> Self {
        Self { vocabulary: 0..65, items: 32 }
    }
}

impl TokenTask for Copying {
    fn name(&self) -> &'static str {
        "copying"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "items", self.items, 1, crate::MAX_LENGTH)?;
        within(self.name(), "vocabulary", self.vocabulary.len(), 2, u32::MAX as usize)?;
        let mut rng = seeded(seed);
        let data = self.vocabulary.start + 1..self.vocabulary.end;
        let tokens = (0..self.items).map(|_| rng.random_range(data.clone())).collect();
        let sources: Vec<usize> = (0..self.items).collect();
        Ok(repeat(tokens, &sources, self.vocabulary.start))
    }

    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        let data = tokens.split(|&token| token == self.vocabulary.start).next();
        data.unwrap_or_default().to_vec()
    }
}

/// Repeat the data tokens, in order, and leave out the filler between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectiveCopying {
    /// Token ids: the first is the separator, the second the filler, the others are data.
    pub vocabulary: Range<u32>,
    /// Number of data tokens.
    pub items: usize,
    /// Number of data and filler tokens before the separator.
    pub length: usize,
}

impl Default for SelectiveCopying {
    /// 16 tokens out of 64, scattered over 128 places.
    fn default() -> Self {
        Self { vocabulary: 0..66, items: 16, length: 128 }
    }
}

impl TokenTask for SelectiveCopying {
    fn name(&self) -> &'static str {
        "selective_copying"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "length", self.length, 1, crate::MAX_LENGTH)?;
        within(self.name(), "items", self.items, 1, self.length)?;
        within(self.name(), "vocabulary", self.vocabulary.len(), 3, u32::MAX as usize)?;
        let mut rng = seeded(seed);
        let (separator, data) = (self.vocabulary.start, self.vocabulary.start + 2..self.vocabulary.end);
        let mut tokens = vec![separator + 1; self.length];
        let mut sources = index::sample(&mut rng, self.length, self.items).into_vec();
        sources.sort_unstable();
        for &place in &sources {
            tokens[place] = rng.random_range(data.clone());
        }
        Ok(repeat(tokens, &sources, separator))
    }

    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        let separator = self.vocabulary.start;
        let before = tokens.iter().take_while(|&&token| token != separator);
        before.copied().filter(|&token| token != separator + 1).collect()
    }
}

/// Appends the separator and all sources but the last, and asks for each source in turn.
fn repeat(mut tokens: Vec<u32>, sources: &[usize], separator: u32) -> TokenSample {
    let mut queries = Vec::with_capacity(sources.len());
    let mut next = separator;
    for &source in sources {
        queries.push(TokenQuery { position: tokens.len(), answer: tokens[source], source });
        tokens.push(next);
        next = tokens[source];
    }
    TokenSample { tokens, queries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_predicts_the_next_of_the_copy() {
        let sample = Copying { vocabulary: 10..20, items: 4 }.sample(1).unwrap();
        let data = &sample.tokens[..4];
        assert!(data.iter().all(|token| (11..20).contains(token)));
        assert_eq!(sample.tokens[4], 10);
        assert_eq!(sample.tokens[5..], data[..3]);
        let positions: Vec<usize> = sample.queries.iter().map(|query| query.position).collect();
        assert_eq!(positions, [4, 5, 6, 7]);
    }

    #[test]
    fn selective_copying_leaves_out_the_filler() {
        let sample = SelectiveCopying { vocabulary: 0..9, items: 3, length: 20 }.sample(1).unwrap();
        assert_eq!(sample.tokens[..20].iter().filter(|&&token| token == 1).count(), 17);
        assert_eq!(sample.tokens.len(), 23);
        assert!(sample.tokens[21..].iter().all(|&token| token > 1));
    }

    #[test]
    fn impossible_parameters_are_named() {
        let too_many = SelectiveCopying { items: 129, ..SelectiveCopying::default() };
        assert!(too_many.sample(0).unwrap_err().to_string().contains("items = 129"));
        let no_data = Copying { vocabulary: 0..1, items: 3 };
        assert!(no_data.sample(0).unwrap_err().to_string().contains("vocabulary = 1"));
    }
}

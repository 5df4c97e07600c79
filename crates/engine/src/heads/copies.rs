//! Which heads copy while the model answers from a text.
//!
//! The row that writes an answer's token `y` looks most at `j* = argmax_j s_j`. The head copies `y` if `j*` stands in the
//! needle, the part of the text that holds the answer, and is `y` itself. Wu et al. 2024, arXiv:2404.15574.

use std::ops::Range;

use crate::probe::{Looking, Probe};
use crate::{Engine, EngineError};

/// A text that ends in an answer copied from an earlier part of it.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The tokens.
    pub ids: &'a [u32],
    /// Places of the answer's tokens; the first of a text is not written by any row.
    pub answer: Range<usize>,
    /// Places of the tokens that hold the answer.
    pub needle: Range<usize>,
}

impl Engine {
    /// The share of the answer's tokens that each query head copied, `[layers][heads]`, 0–1.
    pub fn copying_heads(&self, text: &Answered<'_>) -> Result<Vec<Vec<f64>>, EngineError> {
        self.check_text(0, text.ids)?;
        let Answered { answer, needle, ids } = text;
        assert!(0 < answer.start && answer.end <= ids.len() && needle.end <= answer.start, "places of {text:?}");
        let mut layers = Vec::with_capacity(self.spec().layers.len());
        let mut probe = Probe(|looking: &Looking<'_>| {
            layers.push((0..looking.shape.heads).map(|head| copied(text, |row| most(looking, head, row))).collect());
        });
        self.observe(ids, &mut probe, |_| {});
        Ok(layers)
    }
}

/// The key that row `row` of head `head` looks at most; the first of equal ones.
fn most(looking: &Looking<'_>, head: usize, row: usize) -> usize {
    let (mut most, mut at) = (f64::NEG_INFINITY, row);
    for column in 0..=row {
        if let Some(score) = looking.score(head, row, column)
            && score > most
        {
            (most, at) = (score, column);
        }
    }
    at
}

/// The share of the answer's tokens that are copied by a head whose row `i` looks most at `most(i)`.
fn copied(text: &Answered<'_>, most: impl Fn(usize) -> usize) -> f64 {
    let copies = |place: &usize| {
        let from = most(place - 1);
        text.needle.contains(&from) && text.ids[from] == text.ids[*place]
    };
    text.answer.clone().filter(copies).count() as f64 / text.answer.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_token_out_of_the_needle() {
        // The needle `7 8 9` is answered by `7 8 5`.
        let ids = [1, 7, 8, 9, 7, 2, 7, 8, 5];
        let text = Answered { ids: &ids, answer: 6..9, needle: 1..4 };
        let looks_at = |places: [usize; 3]| copied(&text, |row| places[row - 5]);
        assert_eq!(looks_at([1, 2, 3]), 2.0 / 3.0, "the last token is another one");
        assert_eq!(looks_at([4, 2, 3]), 1.0 / 3.0, "a copy from elsewhere does not count");
        assert_eq!(looks_at([2, 1, 3]), 0.0);
    }
}

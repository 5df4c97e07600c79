//! A search for the best blocks of a text that looks at a few of them only (HiP attention).
//!
//! The blocks are cut into `keep` parts. In every round each part is halved, one block of each half is scored, and the `keep`
//! best halves are the parts of the next round, until every part is one block. So `2 keep` scores per round and
//! `⌈log₂ ⌈blocks / keep⌉⌉` rounds find blocks of large scores where neighbours have like ones; a block that stands out alone
//! is mostly missed. Lee et al. 2024, arXiv:2406.09827.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Protected;
use super::evict::select;

/// Which block of a part is scored for all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Representative {
    /// The one in the middle.
    #[default]
    Center,
    /// The first one.
    First,
}

impl Representative {
    fn of(self, part: &Range<usize>) -> usize {
        match self {
            Self::Center => part.start + part.len() / 2,
            Self::First => part.start,
        }
    }
}

/// A search under way: [`TreeSearch::candidates`] says what to score, [`TreeSearch::keep`] takes the scores.
#[derive(Clone, Debug)]
pub struct TreeSearch {
    keep: usize,
    representative: Representative,
    /// Ascending, without gaps inside a part.
    parts: Vec<Range<usize>>,
    rounds: usize,
    scored: usize,
}

impl TreeSearch {
    /// A search for `keep` of `blocks` blocks; all of them are found if there are no more.
    pub fn new(blocks: usize, keep: usize, representative: Representative) -> Self {
        let parts = keep.min(blocks);
        let start = |part: usize| blocks * part / parts;
        Self {
            keep,
            representative,
            parts: (0..parts).map(|part| start(part)..start(part + 1)).collect(),
            rounds: rounds(blocks, keep),
            scored: 0,
        }
    }

    /// The most blocks that a search for `keep` of `blocks` scores; it scores so many if `blocks / keep` is a power of two.
    pub fn most_scored(blocks: usize, keep: usize) -> usize {
        2 * keep * rounds(blocks, keep)
    }

    /// The blocks whose scores are wanted next, ascending; none when the search is over.
    pub fn candidates(&mut self) -> Vec<u32> {
        if self.rounds == 0 {
            return Vec::new();
        }
        let halves = |part: &Range<usize>| {
            let middle = part.start + part.len() / 2;
            [part.start..middle, middle..part.end]
        };
        self.parts = self.parts.iter().flat_map(halves).filter(|half| !half.is_empty()).collect();
        self.scored += self.parts.len();
        self.parts.iter().map(|half| self.representative.of(half) as u32).collect()
    }

    /// Takes the `scores` of the candidates; of equal ones the first are kept.
    pub fn keep(&mut self, scores: &[f32]) {
        let kept = select(scores, self.keep, Protected::default());
        self.parts = kept.into_iter().map(|part| self.parts[part as usize].clone()).collect();
        self.rounds -= 1;
    }

    /// Searches to the end by `scores`, which gives those of some blocks.
    pub fn run(mut self, mut scores: impl FnMut(&[u32]) -> Vec<f32>) -> Self {
        loop {
            match &self.candidates()[..] {
                [] => return self,
                candidates => self.keep(&scores(candidates)),
            }
        }
    }

    /// The blocks found, ascending.
    pub fn found(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().cloned().flatten()
    }

    /// How many blocks have been scored.
    pub fn scored(&self) -> usize {
        self.scored
    }
}

/// Rounds until every part is one block.
fn rounds(blocks: usize, keep: usize) -> usize {
    blocks.div_ceil(keep.max(1)).max(1).next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn found(scores: &[f32], keep: usize, representative: Representative) -> (Vec<usize>, usize) {
        let search = TreeSearch::new(scores.len(), keep, representative);
        let search = search.run(|blocks| blocks.iter().map(|&block| scores[block as usize]).collect());
        (search.found().collect(), search.scored())
    }

    /// The search by its definition: starts and lengths apart, empty halves hidden, whole sorts.
    fn naive(scores: &[f32], keep: usize, representative: Representative) -> Vec<usize> {
        let blocks = scores.len();
        if blocks <= keep {
            return (0..blocks).collect();
        }
        let start = |i: usize| blocks * i / keep;
        let mut parts: Vec<(usize, usize)> = (0..keep).map(|i| (start(i), start(i + 1) - start(i))).collect();
        while parts.iter().any(|(_, length)| *length > 1) {
            let mut halves = Vec::new();
            for (start, length) in parts {
                let middle = start + length / 2;
                for (start, length) in [(start, middle - start), (middle, start + length - middle)] {
                    let at = if representative == Representative::First { start } else { start + length / 2 };
                    let score = if length == 0 { f32::NEG_INFINITY } else { scores[at] };
                    halves.push((score, start, length));
                }
            }
            halves.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            parts = halves[..keep].iter().map(|(_, start, length)| (*start, *length)).collect();
        }
        parts.sort_unstable();
        parts.into_iter().map(|(start, _)| start).collect()
    }

    #[test]
    fn the_search_is_that_of_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (blocks, keep) in [(1, 1), (2, 1), (64, 64), (65, 64), (100, 7), (1024, 64), (999, 31), (5, 9), (127, 1)] {
            for representative in [Representative::Center, Representative::First] {
                for equal in [false, true] {
                    let score = |_| if equal { 1.0 } else { rng.random_range(-1.0..1.0) };
                    let scores: Vec<f32> = (0..blocks).map(score).collect();
                    let (blocks_found, scored) = found(&scores, keep, representative);
                    let what = format!("{keep} of {blocks} by the {representative:?}");
                    assert_eq!(blocks_found, naive(&scores, keep, representative), "{what}");
                    assert_eq!(blocks_found.len(), keep.min(blocks), "{what}");
                    assert!(blocks_found.windows(2).all(|pair| pair[0] < pair[1]), "{what}");
                    assert!(scored <= TreeSearch::most_scored(blocks, keep), "{what}: {scored}");
                }
            }
        }
    }

    #[test]
    fn work_is_that_of_the_formula() {
        for (blocks, keep, expected) in [(1024, 64, 512), (64, 64, 0), (128, 64, 128), (4096, 16, 256), (0, 4, 0)] {
            assert_eq!(TreeSearch::most_scored(blocks, keep), expected);
            assert_eq!(found(&vec![0.0; blocks], keep, Representative::Center).1, expected);
        }
        assert_eq!(TreeSearch::most_scored(1025, 64), 2 * 64 * 5);
        assert_eq!(TreeSearch::new(7, 0, Representative::Center).run(|_| panic!("nothing is kept")).found().count(), 0);
    }

    #[test]
    fn a_hill_of_the_width_of_a_part_is_climbed() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for representative in [Representative::Center, Representative::First] {
            for _ in 0..100 {
                let top = rng.random_range(0..1024usize);
                let height = |at: usize| (1.0 - at.abs_diff(top) as f32 / 8.0).max(0.0) + rng.random_range(-0.03..0.03);
                let mut scores: Vec<f32> = (0..1024).map(height).collect();
                scores[top] = 1.1;
                assert!(found(&scores, 64, representative).0.contains(&top), "{top} by the {representative:?}");
            }
        }
    }
}

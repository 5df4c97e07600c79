//! Which slots of a head stay: those that a few queries of the map look at.

use serde::{Deserialize, Serialize};

use super::grid::{centres, grid_for};

/// What a query gives a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Its weight in attention.
    #[default]
    Softmax,
    /// Its score before the softmax.
    Logits,
}

/// What a slot has of its neighbours' scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The largest.
    #[default]
    Max,
    /// The mean.
    Average,
}

/// How slots are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What a query gives a slot.
    pub score: Score,
    /// What a slot has of its neighbours.
    pub pool: Pool,
    /// Width of the pool; odd.
    pub kernel: usize,
    /// Observing tokens stand on a grid of at most so many rows and columns.
    pub grid: usize,
}

/// One head: its queries of the map, and the keys of all slots, the map's last.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[cells, head_dim]`.
    pub query: &'a [f32],
    /// `[slots, head_dim]`.
    pub key: &'a [f32],
    /// Channels.
    pub head_dim: usize,
}

impl Selection {
    /// The `budget` slots that stay after a map of `side` × `side`, ascending: the observing tokens, and those they look at. All slots if
    /// they are no more.
    pub fn slots(&self, head: &Head<'_>, side: usize, budget: usize) -> Vec<u32> {
        let slots = head.key.len() / head.head_dim;
        if slots <= budget {
            return (0..slots as u32).collect();
        }
        let history = slots - side * side;
        let mut cells = centres(side, grid_for(budget, self.grid));
        cells.drain(..cells.len().saturating_sub(budget));
        let mut observing = vec![false; slots];
        cells.iter().for_each(|cell| observing[history + cell] = true);
        let scores = self.pooled(&self.scores(head, &cells), &observing);
        let mut others: Vec<usize> = (0..slots).filter(|&slot| !observing[slot]).collect();
        // Stable: of equals the first stays.
        others.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let chosen = others.into_iter().take(budget - cells.len()).chain(cells.iter().map(|cell| history + cell));
        let mut chosen: Vec<u32> = chosen.map(|slot| slot as u32).collect();
        chosen.sort_unstable();
        chosen
    }

    /// What the queries of `cells` give every slot together.
    fn scores(&self, head: &Head<'_>, cells: &[usize]) -> Vec<f32> {
        let mut sum = vec![0.0; head.key.len() / head.head_dim];
        for &cell in cells {
            let row = match self.score {
                Score::Softmax => weights(head, cell),
                Score::Logits => logits(head, cell),
            };
            sum.iter_mut().zip(row).for_each(|(sum, score)| *sum += score);
        }
        sum
    }

    /// The pool over the neighbours of every slot, among which observing tokens do not count: they stay anyway, and a slot beside one
    /// has not earned its place by that.
    fn pooled(&self, scores: &[f32], observing: &[bool]) -> Vec<f32> {
        let reach = self.kernel / 2;
        let pool = |slot: usize| {
            let near = slot.saturating_sub(reach)..(slot + reach + 1).min(scores.len());
            let counted = near.filter(|&near| !observing[near]).map(|near| scores[near]);
            match self.pool {
                Pool::Max => counted.fold(f32::NEG_INFINITY, f32::max),
                Pool::Average => {
                    let (sum, count) = counted.fold((0.0, 0), |(sum, count), score| (sum + score, count + 1));
                    sum / count.max(1) as f32
                }
            }
        };
        (0..scores.len()).map(pool).collect()
    }
}

/// The scores of all slots for the query of `cell`, which is already scaled.
pub fn logits(head: &Head<'_>, cell: usize) -> Vec<f32> {
    let query = &head.query[cell * head.head_dim..][..head.head_dim];
    head.key.chunks(head.head_dim).map(|key| key.iter().zip(query).map(|(key, query)| key * query).sum()).collect()
}

/// The weights of all slots for the query of `cell`.
pub fn weights(head: &Head<'_>, cell: usize) -> Vec<f32> {
    let mut row = logits(head, cell);
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|weight| *weight /= sum);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECTION: Selection = Selection { score: Score::Softmax, pool: Pool::Max, kernel: 1, grid: 4 };

    /// A head of one channel whose queries are 1, so that scores are the keys.
    fn slots(selection: Selection, keys: &[f32], side: usize, budget: usize) -> Vec<u32> {
        let query = vec![1.0; side * side];
        selection.slots(&Head { query: &query, key: keys, head_dim: 1 }, side, budget)
    }

    #[test]
    fn observing_tokens_stay_and_the_best_others() {
        // History of 5, a map of 2 × 2 whose centre is its first cell, slot 5.
        let keys = [0.0, 3.0, 1.0, 2.0, 0.5, -9.0, 0.1, 0.2, 9.0];
        for score in [Score::Softmax, Score::Logits] {
            let of = |budget| slots(Selection { score, ..SELECTION }, &keys, 2, budget);
            assert_eq!(of(1), [5]);
            assert_eq!(of(2), [5, 8]);
            assert_eq!(of(4), [1, 3, 5, 8]);
            assert_eq!(of(9), (0..9).collect::<Vec<_>>());
            // Eight slots have room for four observing tokens, all cells of the map.
            assert_eq!(of(8), [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn pools_reach_their_neighbours_but_not_over_observing_tokens() {
        let keys = [0.0, 5.0, 0.0, 4.0, 0.0, 99.0, 0.0, 0.0, 0.0];
        let wide = Selection { score: Score::Logits, kernel: 3, ..SELECTION };
        // Slots 0 to 2 have the 5; slot 6 stands beside the observing slot 5 and has nothing of it.
        assert_eq!(slots(wide, &keys, 2, 4), [0, 1, 2, 5]);
        let mean = Selection { pool: Pool::Average, ..wide };
        // Means: 2.5, 5/3, 3, 4/3, 2; the observing slot is no neighbour of slots 4 and 6, and nothing is infinite.
        assert_eq!(slots(mean, &keys, 2, 4), [0, 2, 4, 5]);
    }

    #[test]
    fn of_equals_the_first_stays_and_no_slot_twice() {
        let found = slots(SELECTION, &[1.0; 21], 4, 9);
        assert_eq!(found.len(), 9);
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        // A grid of 2 × 2 in the map, and the first five slots.
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 7, 13, 15]);
    }
}

//! The attention of every token of a response, reduced over all heads as the text is read.
//!
//! A head's row is cleared of what says little: the first token, the row itself, and most of the nearest tokens; then it is scaled to a
//! sum of one. Of all heads of all layers, the [`HEADS`] rows with the lowest entropy stay, and their largest weights are the row
//! `[tokens]`. Rows are kept one layer after the other, so that memory does not grow with the number of heads.

use headwise_kernels::attention::{
    AttnSpec, Float, HeadSum, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut, Strided, attend, column_sums,
};
use headwise_kernels::parallel;
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};

/// Rows of the lowest entropy that count for a token.
pub const HEADS: usize = 16;
/// What the weights of the nearest tokens count, the nearest first.
const NEAREST: [f32; 10] = [0.1664, 0.2094, 0.3296, 0.4606, 0.5930, 0.6755, 0.7391, 0.8127, 0.8738, 0.9393];

/// Reads one text and keeps what its last tokens attend to.
pub struct Probe {
    /// The first token whose row is kept.
    first: usize,
    /// For every row the entropies and weights kept so far, the lowest entropy first.
    rows: Vec<Vec<(f32, Vec<f32>)>>,
}

impl Probe {
    /// A probe for the rows from token `first` on of a text of `tokens`.
    pub fn new(first: usize, tokens: usize) -> Self {
        Self { first, rows: vec![Vec::new(); tokens - first] }
    }

    /// The largest kept weights of every row.
    pub fn rows(self) -> Vec<Vec<f32>> {
        let largest = |mut a: Vec<f32>, b: Vec<f32>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a = a.max(b));
            a
        };
        let row = |kept: Vec<(f32, Vec<f32>)>| kept.into_iter().map(|(_, row)| row).reduce(largest).unwrap_or_default();
        self.rows.into_iter().map(row).collect()
    }
}

/// Clears the row of token `token` of what says little and scales it to sum 1; returns its entropy.
pub fn cleared(weights: &mut [f32], token: usize) -> f32 {
    for (distance, share) in NEAREST.iter().enumerate().take(token) {
        weights[token - 1 - distance] *= share;
    }
    (weights[0], weights[token]) = (0.0, 0.0);
    let sum: f32 = weights.iter().sum();
    if sum <= 0.0 {
        // A row that says nothing is the last to be taken.
        return f32::INFINITY;
    }
    weights.iter_mut().for_each(|weight| *weight /= sum);
    -weights.iter().filter(|weight| **weight > 0.0).map(|weight| weight * weight.ln()).sum::<f32>()
}

/// Puts a row among those `kept` if its entropy is low enough; earlier ones go first among equals.
fn keep(kept: &mut Vec<(f32, Vec<f32>)>, entropy: f32, weights: &[f32]) {
    let at = kept.partition_point(|(other, _)| *other <= entropy);
    if at < HEADS && entropy.is_finite() {
        kept.insert(at, (entropy, weights.to_vec()));
        kept.truncate(HEADS);
    }
}

impl LayerCache for Probe {
    fn attend(
        &mut self,
        _: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        segments: &[Segment],
        out: &mut [f32],
    ) {
        debug_assert!(segments.len() == 1, "a probe reads one whole text");
        let Projected { heads, kv_heads, head_dim, value, .. } = projected;
        let (width, kv_width, tokens) = (heads * head_dim, kv_heads * head_dim, positions.len());
        let (query, key) = projected.rotated(rope, positions);
        let source = |head: usize, tokens: usize| {
            let of = |data| Strided { data, stride: kv_width, rows: tokens, width: head_dim };
            let from = head * head_dim;
            Float { keys: of(&key[from..]), values: of(&value[from..]), positions: Some(&positions[..tokens]) }
        };
        let sources: Vec<Float<'_>> = (0..kv_heads).map(|head| source(head, tokens)).collect();
        let spec = AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..spec.clone() };
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let rows = Rows { data: &query, stride: width };
        let mut stats = StatsOut::default();
        let keys = [Keys { rows: 0..tokens, heads: &sources }];
        attend(&spec, shape, rows, &keys, RowsMut { data: out, stride: width }, &mut stats);
        let first = self.first;
        parallel::pieces(&mut self.rows, 1, |index, kept| {
            let token = first + index;
            // One row over the keys it sees, as if the text ended with it.
            let seen: Vec<Float<'_>> = (0..kv_heads).map(|head| source(head, token + 1)).collect();
            let row = Rows { data: &query[token * width..][..width], stride: width };
            let lse = &stats.lse[token * heads..][..heads];
            let mut weights = vec![vec![0.0; shape.group() * (token + 1)]; kv_heads];
            let segment = Keys { rows: 0..1, heads: &seen };
            column_sums(&spec, shape, row, &segment, lse, HeadSum::Each, &mut weights);
            for weights in weights.iter_mut().flat_map(|group| group.chunks_exact_mut(token + 1)) {
                let entropy = cleared(weights, token);
                keep(&mut kept[0], entropy, weights);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_row_has_neither_ends_nor_its_neighbours_in_full() {
        let token = 13;
        let mut weights = vec![1.0; token + 1];
        let entropy = cleared(&mut weights, token);
        let raw: Vec<f32> = (0..=token)
            .map(|column| match token - column {
                0 => 0.0,
                13 => 0.0,
                distance @ 1..=10 => NEAREST[distance - 1],
                _ => 1.0,
            })
            .collect();
        let sum: f32 = raw.iter().sum();
        let expected: Vec<f32> = raw.iter().map(|weight| weight / sum).collect();
        assert!(weights.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        let naive: f32 = expected.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((entropy - naive).abs() < 1e-5);
        assert!(cleared(&mut [0.9, 0.1], 1).is_infinite(), "nothing is left of a row of two");
    }

    #[test]
    fn rows_of_the_lowest_entropy_stay() {
        let mut kept = Vec::new();
        for entropy in (0..40).rev() {
            keep(&mut kept, entropy as f32, &[entropy as f32]);
        }
        keep(&mut kept, f32::INFINITY, &[0.0]);
        let entropies: Vec<f32> = kept.iter().map(|(entropy, _)| *entropy).collect();
        assert_eq!(entropies, (0..HEADS).map(|entropy| entropy as f32).collect::<Vec<_>>());
    }
}

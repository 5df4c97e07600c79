//! The attention of every token of a response, reduced over all heads as the text is read.
//!
//! A head's row is cleared of what says little: the first token, the row itself, and most of the nearest tokens; then it is scaled to a
//! sum of one. Of all heads of all layers, the [`HEADS`] rows with the lowest entropy stay, and their largest weights are the row
//! `[tokens]`. Rows are kept one layer after the other, so that memory does not grow with the number of heads.

use headwise_kernels::parallel;

use crate::probe::Looking;

/// Rows of the lowest entropy that count for a token.
pub const HEADS: usize = 16;
/// What the weights of the nearest tokens count, the nearest first.
const NEAREST: [f32; 10] = [0.1664, 0.2094, 0.3296, 0.4606, 0.5930, 0.6755, 0.7391, 0.8127, 0.8738, 0.9393];

/// What the last tokens of a text attend to.
pub struct AttentionRows {
    /// The first token whose row is kept.
    first: usize,
    /// For every row the entropies and weights kept so far, the lowest entropy first.
    rows: Vec<Vec<(f32, Vec<f32>)>>,
}

impl AttentionRows {
    /// The rows from token `first` on of a text of `tokens`.
    pub fn new(first: usize, tokens: usize) -> Self {
        Self { first, rows: vec![Vec::new(); tokens - first] }
    }

    /// Adds what the heads of a layer attend to.
    pub fn add(&mut self, looking: &Looking<'_>) {
        let first = self.first;
        parallel::pieces(&mut self.rows, 1, |index, kept| {
            let token = first + index;
            for mut group in looking.weights(token) {
                for weights in group.chunks_exact_mut(token + 1) {
                    let entropy = cleared(weights, token);
                    keep(&mut kept[0], entropy, weights);
                }
            }
        });
    }

    /// The largest kept weights of every row.
    pub fn largest(self) -> Vec<Vec<f32>> {
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

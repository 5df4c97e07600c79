//! Zeros for the weights that score least.

use headwise_kernels::parallel;

use super::matrix::Matrix;

/// Zeros the weights of every row whose `score(row, input)` is lowest: the share `share` of them or, with `keep_of = [n, m]`, all but `n`
/// of every `m` neighbours. Of equal scores the first go.
pub(super) fn mask(
    matrix: &mut Matrix,
    share: f64,
    keep_of: Option<[usize; 2]>,
    score: impl Fn(f32, usize) -> f32 + Sync,
) {
    let inputs = matrix.inputs;
    parallel::pieces(&mut matrix.values, inputs, |_, row| {
        let scores: Vec<f32> = row.iter().enumerate().map(|(input, &weight)| score(weight, input)).collect();
        let length = keep_of.map_or(inputs, |[_, of]| of);
        for (row, scores) in row.chunks_mut(length).zip(scores.chunks(length)) {
            let dropped = match keep_of {
                Some([kept, _]) => row.len().saturating_sub(kept),
                None => (row.len() as f64 * share).round() as usize,
            };
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            order[..dropped].iter().for_each(|&at| row[at] = 0.0);
        }
    });
}

/// The share of `weights` that is zero, in percent.
pub(super) fn zeros(zeros: usize, weights: usize) -> String {
    format!("{:.1} % of the weights of the layers are zero", 100.0 * zeros as f64 / weights.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Matrix {
        Matrix { values: (0..4 * 24).map(|i| ((i * 37) % 53) as f32 - 26.25).collect(), inputs: 24 }
    }

    #[test]
    fn two_of_four_are_the_two_largest() {
        let (before, mut after) = (matrix(), matrix());
        mask(&mut after, 0.0, Some([2, 4]), |weight, _| weight.abs());
        for (before, after) in before.values.chunks(4).zip(after.values.chunks(4)) {
            let mut magnitudes: Vec<f32> = before.iter().map(|weight| weight.abs()).collect();
            magnitudes.sort_by(f32::total_cmp);
            for (before, after) in before.iter().zip(after) {
                assert_eq!(*after, if before.abs() >= magnitudes[2] { *before } else { 0.0 });
            }
            assert_eq!(after.iter().filter(|weight| **weight != 0.0).count(), 2);
        }
    }

    #[test]
    fn a_share_of_every_row_goes() {
        let mut after = matrix();
        mask(&mut after, 0.25, None, |weight, input| if input < 6 { 0.0 } else { weight.abs() + 1.0 });
        assert!(
            after.values.chunks(24).all(|row| row[..6].iter().all(|&w| w == 0.0) && row[6..].iter().all(|&w| w != 0.0))
        );
        let mut same = matrix();
        mask(&mut same, 0.0, None, |weight, _| weight.abs());
        assert_eq!(same, matrix());
    }
}

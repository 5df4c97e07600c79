//! Truncated matrix entropy of the queries of a head: how many directions they spread over.
//!
//! Rows of `X` `[tokens, d]` lose their mean and get length 1; `A = Xᵀ X / T`, divided by its trace, has the eigenvalues `λ₁ ≥ λ₂ ≥ …`,
//! and `H = -Σ_{i ≤ k} λ_i ln λ_i / ln d` with `k = d / 2`. Without truncation it is 0 where all queries lie on a line, and 1 where
//! they spread evenly over all directions. Xiong et al. 2024, arXiv:2410.03090.

use headwise_kernels::parallel;
use nalgebra::DMatrix;

use crate::probe::Looking;

/// Of all directions, only one in so many counts.
const TRUNCATION: usize = 2;

/// The entropy of the rotated queries of every head of a layer over a text of `tokens`, its first token left out.
pub(super) fn of_layer(looking: &Looking<'_>, tokens: usize) -> Vec<f64> {
    let head_dim = looking.shape.head_dim;
    let mut entropies = vec![0.0; looking.shape.heads];
    parallel::pieces(&mut entropies, 1, |head, entropy| {
        let rows: Vec<&[f32]> = (1..tokens).map(|row| looking.query(head, row)).collect();
        entropy[0] = matrix_entropy(&rows, head_dim.div_ceil(TRUNCATION));
    });
    entropies
}

/// The entropy of the first `kept` eigenvalues of `rows`, which have the same length.
fn matrix_entropy(rows: &[&[f32]], kept: usize) -> f64 {
    let width = rows.first().map_or(0, |row| row.len());
    if width < 2 {
        return 0.0;
    }
    let mut mean = vec![0.0; width];
    for row in rows {
        mean.iter_mut().zip(*row).for_each(|(mean, x)| *mean += f64::from(*x) / rows.len() as f64);
    }
    let mut product = DMatrix::<f64>::zeros(width, width);
    let mut centred = vec![0.0; width];
    for row in rows {
        centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (x, mean))| *c = f64::from(*x) - mean);
        let length = centred.iter().map(|x| x * x).sum::<f64>();
        if length > 0.0 {
            for (column, x) in centred.iter().enumerate() {
                let of_column = product.column_mut(column).into_iter();
                of_column.zip(&centred).for_each(|(sum, y)| *sum += x * y / length);
            }
        }
    }
    let trace = product.trace();
    if trace <= 0.0 {
        return 0.0;
    }
    let mut eigenvalues: Vec<f64> = product.symmetric_eigenvalues().iter().map(|value| value / trace).collect();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    // Rounding makes values that should be zero a little less.
    let parts = eigenvalues.iter().take(kept).filter(|value| **value > 0.0).map(|value| -value * value.ln());
    parts.sum::<f64>() / (width as f64).ln()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(rows: usize, width: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..rows).map(|_| (0..width).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    fn entropy(rows: &[Vec<f32>], kept: usize) -> f64 {
        matrix_entropy(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), kept)
    }

    #[test]
    fn even_spread_is_one_and_a_line_is_zero() {
        assert!(entropy(&random(4096, 16), 16) > 0.98);
        let line: Vec<Vec<f32>> = (0..200).map(|row| (0..16).map(|c| (row * (c + 1)) as f32).collect()).collect();
        assert!(entropy(&line, 16) < 0.01);
        assert_eq!(entropy(&vec![vec![1.0; 8]; 5], 8), 0.0, "all the same");
        assert_eq!(entropy(&[], 8), 0.0);
        assert!(entropy(&random(4096, 16), 8) < 0.55, "half of the directions");
    }

    #[test]
    fn scale_shift_and_rotation_change_nothing() {
        let rows = random(300, 8);
        let expected = entropy(&rows, 4);
        let (sin, cos) = 0.7f32.sin_cos();
        let changed: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| {
                let mut row: Vec<f32> = row.iter().map(|x| 3.0 * x).collect();
                (row[1], row[6]) = (cos * row[1] - sin * row[6], sin * row[1] + cos * row[6]);
                row.iter().enumerate().map(|(channel, x)| x + channel as f32).collect()
            })
            .collect();
        assert!((entropy(&changed, 4) - expected).abs() < 1e-5, "{expected}");
    }
}

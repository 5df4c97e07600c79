//! The triangular factor that successive rounding needs.

use headwise_kernels::parallel;

/// With `H = R Rᵀ` and `R` upper triangular, the rows `C[i, j] = R[j, i] / R[i, i]`, `j < i`, of a symmetric positive definite `H`
/// `[n, n]`; none if it is not. `(w - q)ᵀ H (w - q)` is then `Σ_i R[i, i]² (w_i - q_i + Σ_{j<i} C[i, j] (w_j - q_j))²`.
pub(super) fn feedback(mut h: Vec<f64>, n: usize) -> Option<Vec<f32>> {
    let mut feedback = vec![0.0f32; n * n];
    for k in (0..n).rev() {
        let pivot = h[k * n + k];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let root = pivot.sqrt();
        let column: Vec<f64> = (0..k).map(|j| h[j * n + k] / root).collect();
        feedback[k * n..][..k].iter_mut().zip(&column).for_each(|(c, r)| *c = (r / root) as f32);
        parallel::pieces(&mut h[..k * n], n, |i, row| {
            let factor = column[i];
            row[i..k].iter_mut().zip(&column[i..]).for_each(|(h, r)| *h -= factor * r);
        });
    }
    Some(feedback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_a_sum_of_squares_of_what_is_fed_back() {
        let n = 7;
        let a = |i: usize, j: usize| ((i * 31 + j * 17 + 5) % 23) as f64 / 23.0 - 0.5;
        let mut h = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                h[i * n + j] = (0..12).map(|k| a(i, k) * a(j, k)).sum::<f64>() + if i == j { 0.1 } else { 0.0 };
            }
        }
        let c = feedback(h.clone(), n).unwrap();
        // The pivots R[i, i]² from the definition: what is left of H[i, i] once later inputs are known.
        let d: Vec<f64> = (0..n).map(|i| a(i, 40)).collect();
        let whole: f64 = (0..n * n).map(|at| d[at / n] * h[at] * d[at % n]).sum();
        let mut left = h;
        let mut sum = 0.0;
        for i in (0..n).rev() {
            let pivot = left[i * n + i];
            let fed = d[i] + (0..i).map(|j| f64::from(c[i * n + j]) * d[j]).sum::<f64>();
            sum += pivot * fed * fed;
            for a in 0..i {
                for b in 0..i {
                    left[a * n + b] -= left[a * n + i] * left[b * n + i] / pivot;
                }
            }
        }
        assert!((whole - sum).abs() < 1e-5 * whole, "{whole} and {sum}");
        assert!(feedback(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
    }
}

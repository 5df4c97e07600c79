//! RMSNorm and LayerNorm over rows of `width` numbers, forward and backward.
//!
//! With `n = width`, over one row:
//!
//! - RMSNorm: `x̂ = x / √(Σ x² / n + ε)`, `y = w · x̂` (Zhang and Sennrich 2019, arXiv:1910.07467);
//! - LayerNorm: `x̂ = (x - μ) / √(Σ (x - μ)² / n + ε)`, `y = w · x̂ + b` (Ba, Kiros and Hinton 2016, arXiv:1607.06450).
//!
//! Backward, with `g = w · dy` and `r` the factor that scales `x`: `dx = r (g - mean(g) - x̂ · mean(g · x̂))`, without the
//! middle term for RMSNorm; `dw = Σ_rows dy · x̂`, `db = Σ_rows dy`.
//!
//! A row's result depends on that row alone; sums over rows are taken in an order that depends only on their number.
//! All matrices are row-major `[rows, width]` without gaps, and `width` is the length of `weight`.

mod residual;
mod rows;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::dispatch;
use crate::sum_rows::sum_rows;

pub use residual::{add_layer_norm, add_layer_norm_backward, add_rms_norm, add_rms_norm_backward};
use rows::{Backward, Forward, Residual};

/// Values worth handing to a thread.
const PART: usize = 1 << 15;

/// `y = weight · x / rms(x)` for each row.
///
/// # Panics
/// If `x` is not whole rows, or `y` has another length.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    forward::<false>(x, None, weight, None, epsilon, y);
}

/// `y = weight · (x - mean) / deviation + bias` for each row.
///
/// # Panics
/// If `x` is not whole rows, or `y` or `bias` has the wrong length.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, y: &mut [f32]) {
    forward::<true>(x, None, weight, bias, epsilon, y);
}

/// Writes the gradient of [`rms_norm`] to `dx` and adds that of the weight to `d_weight`.
///
/// # Panics
/// If a length is wrong.
pub fn rms_norm_backward(x: &[f32], weight: &[f32], epsilon: f32, dy: &[f32], dx: &mut [f32], d_weight: &mut [f32]) {
    backward::<false>(x, weight, epsilon, dy, None, dx, d_weight, None);
}

/// Writes the gradient of [`layer_norm`] to `dx` and adds those of the weight and bias to `d_weight` and `d_bias`.
///
/// # Panics
/// If a length is wrong.
pub fn layer_norm_backward(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) {
    backward::<true>(x, weight, epsilon, dy, None, dx, d_weight, d_bias);
}

/// The number of rows in `x`.
fn check_rows(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} values are not rows of {width}", x.len());
    x.len() / width
}

/// Normalises `x`, or `x` plus a residual.
fn forward<const CENTRED: bool>(
    x: &[f32],
    residual: Option<Residual<'_>>,
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    y: &mut [f32],
) {
    let width = weight.len();
    let rows = check_rows(x, width);
    assert!(bias.is_none_or(|bias| bias.len() == width), "a bias for each weight");
    assert_eq!(y.len(), x.len(), "y is as long as x");
    let (name, tensors) = if residual.is_some() { ("residual and norm", 4) } else { ("norm", 2) };
    let _span = profile::span(name).work(|| Work::bytes(tensors * size_of_val(x)));
    let residual = residual.map(|Residual { residual, sum }| {
        assert!(residual.len() == x.len() && sum.len() == x.len(), "the residual and the sum are as long as x");
        (residual, Disjoint::new(sum))
    });
    let y = Disjoint::new(y);
    let together = (PART / width).max(1);
    parallel::parts(rows.div_ceil(together), |part| {
        let start = part * together * width;
        let length = (x.len() - start).min(together * width);
        let residual = residual.as_ref().map(|(residual, sum)| Residual {
            residual: &residual[start..][..length],
            // SAFETY: parts own different rows, all inside slices as long as `x`.
            sum: unsafe { sum.range(start, length) },
        });
        // SAFETY: as above.
        let y = unsafe { y.range(start, length) };
        dispatch(Forward::<CENTRED> { x: &x[start..][..length], residual, weight, bias, epsilon, y });
    });
}

/// The gradient of a norm of `x`; where `x` is used elsewhere too, `d_other` is its gradient from there, which is added.
fn backward<const CENTRED: bool>(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    d_other: Option<&[f32]>,
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) {
    let (width, rows) = (weight.len(), check_rows(x, weight.len()));
    assert!(dy.len() == x.len() && dx.len() == x.len(), "dy and dx are as long as x");
    assert!(d_other.is_none_or(|d_other| d_other.len() == x.len()), "every gradient of x is as long as x");
    assert!(d_weight.len() == width && d_bias.as_ref().is_none_or(|d| d.len() == width), "a gradient per weight");
    let _span = profile::span("norm, backward").work(|| Work::bytes(3 * size_of_val(x)));
    let dx = Disjoint::new(dx);
    let sums = sum_rows(rows, 2 * width, |rows, sums| {
        let (start, length) = (rows.start * width, rows.len() * width);
        // SAFETY: parts own different rows, all inside a slice as long as `x`.
        let dx = unsafe { dx.range(start, length) };
        let (d_weight, d_bias) = sums.split_at_mut(width);
        let (x, dy) = (&x[start..][..length], &dy[start..][..length]);
        let d_other = d_other.map(|d_other| &d_other[start..][..length]);
        dispatch(Backward::<CENTRED> { x, weight, epsilon, dy, d_other, dx, d_weight, d_bias });
    });
    let (weight_sums, bias_sums) = sums.split_at(width);
    d_weight.iter_mut().zip(weight_sums).for_each(|(total, sum)| *total += sum);
    if let Some(d_bias) = d_bias {
        d_bias.iter_mut().zip(bias_sums).for_each(|(total, sum)| *total += sum);
    }
}

#[cfg(test)]
mod tests;

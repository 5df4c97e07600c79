//! A residual connection and the norm after it in one pass: `sum = x + residual`, `y = norm(sum)`.
//!
//! A block that normalises its result uses `y` alone, one that normalises its input uses both. The gradient of `x` and that of
//! the residual are the same: that of the sum, from `y` and, if it is used elsewhere, from there.

use super::rows::Residual;
use super::{backward, forward};

/// `sum = x + residual`, then `y = weight · sum / rms(sum)` for each row.
///
/// # Panics
/// If `x` is not whole rows, or another slice has another length.
pub fn add_rms_norm(x: &[f32], residual: &[f32], weight: &[f32], epsilon: f32, sum: &mut [f32], y: &mut [f32]) {
    forward::<false>(x, Some(Residual { residual, sum }), weight, None, epsilon, y);
}

/// `sum = x + residual`, then `y = weight · (sum - mean) / deviation + bias` for each row.
///
/// # Panics
/// If `x` is not whole rows, or another slice has the wrong length.
pub fn add_layer_norm(
    x: &[f32],
    residual: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    sum: &mut [f32],
    y: &mut [f32],
) {
    forward::<true>(x, Some(Residual { residual, sum }), weight, bias, epsilon, y);
}

/// Writes the gradient of both summands of [`add_rms_norm`] to `dx` and adds that of the weight to `d_weight`.
///
/// `d_sum` is the gradient of the sum from its other uses.
///
/// # Panics
/// If a length is wrong.
pub fn add_rms_norm_backward(
    sum: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    d_sum: Option<&[f32]>,
    dx: &mut [f32],
    d_weight: &mut [f32],
) {
    backward::<false>(sum, weight, epsilon, dy, d_sum, dx, d_weight, None);
}

/// Writes the gradient of both summands of [`add_layer_norm`] to `dx` and adds those of the weight and bias to `d_weight` and
/// `d_bias`.
///
/// `d_sum` is the gradient of the sum from its other uses.
///
/// # Panics
/// If a length is wrong.
pub fn add_layer_norm_backward(
    sum: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    d_sum: Option<&[f32]>,
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) {
    backward::<true>(sum, weight, epsilon, dy, d_sum, dx, d_weight, d_bias);
}

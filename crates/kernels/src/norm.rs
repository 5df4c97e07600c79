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

mod rows;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::simd::{Kernel, Simd, dispatch, slices};

use rows::{Backward, Forward};

/// Values worth handing to a thread.
const PART: usize = 1 << 15;
/// The gradients of the parameters are added up in at most so many parts.
const SUMS: usize = 32;
/// Rows worth a part of their own.
const ROWS_PER_SUM: usize = 16;

/// `y = weight · x / rms(x)` for each row.
///
/// # Panics
/// If `x` is not whole rows, or `y` has another length.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    forward::<false>(x, weight, None, epsilon, y);
}

/// `y = weight · (x - mean) / deviation + bias` for each row.
///
/// # Panics
/// If `x` is not whole rows, or `y` or `bias` has the wrong length.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, y: &mut [f32]) {
    assert!(bias.is_none_or(|bias| bias.len() == weight.len()), "a bias for each weight");
    forward::<true>(x, weight, bias, epsilon, y);
}

/// `residual += x`, then `y = weight · residual / rms(residual)`: the step between two layers, in one pass.
///
/// # Panics
/// If `x` is not whole rows, or `residual` or `y` has another length.
pub fn add_rms_norm(x: &[f32], residual: &mut [f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let rows = check_rows(x, weight.len());
    assert!(residual.len() == x.len() && y.len() == x.len(), "residual and y are as long as x");
    let (width, together) = (weight.len(), rows_per_part(weight.len()));
    let residual = Disjoint::new(residual);
    let y = Disjoint::new(y);
    parallel::parts(rows.div_ceil(together), |part| {
        let first = part * together;
        let (start, length) = (first * width, (rows - first).min(together) * width);
        // SAFETY: parts own different rows, all inside slices as long as `x`.
        let (residual, y) = unsafe { (residual.range(start, length), y.range(start, length)) };
        dispatch(Add { x: &x[start..][..length], sum: residual });
        dispatch(Forward::<false> { x: residual, weight, bias: None, epsilon, y });
    });
}

/// Writes the gradient of [`rms_norm`] to `dx` and adds that of the weight to `d_weight`.
///
/// # Panics
/// If a length is wrong.
pub fn rms_norm_backward(x: &[f32], weight: &[f32], epsilon: f32, dy: &[f32], dx: &mut [f32], d_weight: &mut [f32]) {
    backward::<false>(x, weight, epsilon, dy, dx, d_weight, None);
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
    backward::<true>(x, weight, epsilon, dy, dx, d_weight, d_bias);
}

/// The number of rows in `x`.
fn check_rows(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} values are not rows of {width}", x.len());
    x.len() / width
}

fn rows_per_part(width: usize) -> usize {
    (PART / width).max(1)
}

fn forward<const CENTRED: bool>(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, y: &mut [f32]) {
    check_rows(x, weight.len());
    assert_eq!(y.len(), x.len(), "y is as long as x");
    let length = rows_per_part(weight.len()) * weight.len();
    parallel::pieces(y, length, |piece, y| {
        dispatch(Forward::<CENTRED> { x: &x[piece * length..][..y.len()], weight, bias, epsilon, y });
    });
}

fn backward<const CENTRED: bool>(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: Option<&mut [f32]>,
) {
    let (width, rows) = (weight.len(), check_rows(x, weight.len()));
    assert!(dy.len() == x.len() && dx.len() == x.len(), "dy and dx are as long as x");
    assert!(d_weight.len() == width && d_bias.as_ref().is_none_or(|d| d.len() == width), "a gradient per weight");
    let together = rows.div_ceil(SUMS).max(ROWS_PER_SUM);
    let sums = rows.div_ceil(together);
    let mut partial = vec![0.0; sums * 2 * width];
    let dx = Disjoint::new(dx);
    let partials = Disjoint::new(&mut partial);
    parallel::parts(sums, |part| {
        let start = part * together * width;
        let length = (x.len() - start).min(together * width);
        // SAFETY: parts own different rows of `dx` and different sums, all inside.
        let (dx, partial) = unsafe { (dx.range(start, length), partials.range(part * 2 * width, 2 * width)) };
        let (d_weight, d_bias) = partial.split_at_mut(width);
        let (x, dy) = (&x[start..][..length], &dy[start..][..length]);
        dispatch(Backward::<CENTRED> { x, weight, epsilon, dy, dx, d_weight, d_bias });
    });
    for partial in partial.chunks_exact(2 * width) {
        d_weight.iter_mut().zip(partial).for_each(|(total, part)| *total += part);
    }
    if let Some(d_bias) = d_bias {
        for partial in partial.chunks_exact(2 * width) {
            d_bias.iter_mut().zip(&partial[width..]).for_each(|(total, part)| *total += part);
        }
    }
}

struct Add<'a> {
    x: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        slices::update(
            s,
            [[self.x]],
            [self.sum],
            #[inline(always)]
            |[[x]], [sum]| [s.add(sum, x)],
        );
    }
}

#[cfg(test)]
mod tests;

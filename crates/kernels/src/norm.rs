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

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Values worth handing to a thread.
const PART: usize = 1 << 15;
/// Rows whose share of `d_weight` is added up on its own.
const ROWS_PER_SUM: usize = 32;

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
    let _span = profile::span("residual and norm").work(|| Work::bytes(4 * size_of_val(x)));
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
    let _span = profile::span("norm").work(|| Work::bytes(2 * size_of_val(x)));
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
    let _span = profile::span("norm, backward").work(|| Work::bytes(3 * size_of_val(x)));
    let sums = rows.div_ceil(ROWS_PER_SUM);
    let mut partial = vec![0.0; sums * 2 * width];
    let dx = Disjoint::new(dx);
    let partials = Disjoint::new(&mut partial);
    parallel::parts(sums, |part| {
        let start = part * ROWS_PER_SUM * width;
        let length = (x.len() - start).min(ROWS_PER_SUM * width);
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

/// Sums `term(at)` over a row, lane by lane, then over the lanes.
#[inline(always)]
fn sum<S: Simd>(s: S, width: usize, term: impl Fn(usize) -> S::F) -> f32 {
    let mut total = s.zero();
    for at in (0..width).step_by(LANES) {
        total = s.add(total, term(at));
    }
    s.sum(total)
}

/// The mean (0 unless `CENTRED`) and the factor `r` of a row.
#[inline(always)]
fn moments<S: Simd, const CENTRED: bool>(s: S, x: &[f32], epsilon: f32) -> (f32, f32) {
    let width = x.len();
    let mean = if CENTRED { sum(s, width, |at| s.read(x, at, 0.0)) / width as f32 } else { 0.0 };
    let squares = sum(s, width, |at| {
        // Missing lanes are at the mean, so they add nothing.
        let deviation = s.sub(s.read(x, at, mean), s.splat(mean));
        s.mul(deviation, deviation)
    });
    (mean, 1.0 / (squares / width as f32 + epsilon).sqrt())
}

struct Add<'a> {
    x: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.x.len()).step_by(LANES) {
            let total = s.add(s.read(self.sum, at, 0.0), s.read(self.x, at, 0.0));
            s.write(self.sum, at, total);
        }
    }
}

struct Forward<'a, const CENTRED: bool> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
    y: &'a mut [f32],
}

impl<const CENTRED: bool> Kernel for Forward<'_, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let (mean, factor) = moments::<S, CENTRED>(s, x, self.epsilon);
            for at in (0..width).step_by(LANES) {
                let normal = s.mul(s.sub(s.read(x, at, 0.0), s.splat(mean)), s.splat(factor));
                let weight = s.read(self.weight, at, 0.0);
                let value = match self.bias {
                    Some(bias) => s.fma(normal, weight, s.read(bias, at, 0.0)),
                    None => s.mul(normal, weight),
                };
                s.write(y, at, value);
            }
        }
    }
}

struct Backward<'a, const CENTRED: bool> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    dy: &'a [f32],
    dx: &'a mut [f32],
    d_weight: &'a mut [f32],
    d_bias: &'a mut [f32],
}

impl<const CENTRED: bool> Kernel for Backward<'_, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (width, weight) = (self.weight.len(), self.weight);
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width)).zip(self.dx.chunks_exact_mut(width));
        for ((x, dy), dx) in rows {
            let (mean, factor) = moments::<S, CENTRED>(s, x, self.epsilon);
            let normal = |at| s.mul(s.sub(s.read(x, at, mean), s.splat(mean)), s.splat(factor));
            let g = |at| s.mul(s.read(weight, at, 0.0), s.read(dy, at, 0.0));
            let mean_g = if CENTRED { sum(s, width, g) / width as f32 } else { 0.0 };
            let mean_product = sum(s, width, |at| s.mul(g(at), normal(at))) / width as f32;
            for at in (0..width).step_by(LANES) {
                let (normal, dy) = (normal(at), s.read(dy, at, 0.0));
                let centred = s.sub(g(at), s.splat(mean_g));
                s.write(dx, at, s.mul(s.splat(factor), s.sub(centred, s.mul(normal, s.splat(mean_product)))));
                let d_weight = s.fma(dy, normal, s.read(self.d_weight, at, 0.0));
                s.write(self.d_weight, at, d_weight);
                if CENTRED {
                    let d_bias = s.add(dy, s.read(self.d_bias, at, 0.0));
                    s.write(self.d_bias, at, d_bias);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

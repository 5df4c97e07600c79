//! Softmax and log-softmax over rows, forward and backward.
//!
//! `y_i = e^{x_i - max x} / Σ_j e^{x_j - max x}`; backward `dx = y (dy - Σ y dy)`, and for the logarithm
//! `dx = dy - e^y Σ dy`. A row of −∞ alone gives zeros (logarithm: −∞), so that an empty mask adds nothing; NaN or +∞
//! anywhere gives NaN in its row. Matrices are row-major `[rows, width]` without gaps.

use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, Simd, dispatch, slices};

/// Values worth handing to a thread.
const PART: usize = 1 << 14;

/// Writes the softmax of each row of `x` to `y`.
///
/// # Panics
/// If `x` is not rows of `width`, or `y` has another length.
pub fn softmax(x: &[f32], width: usize, y: &mut [f32]) {
    forward::<false>(x, width, y);
}

/// Writes the logarithm of the softmax of each row of `x` to `y`.
///
/// # Panics
/// If `x` is not rows of `width`, or `y` has another length.
pub fn log_softmax(x: &[f32], width: usize, y: &mut [f32]) {
    forward::<true>(x, width, y);
}

/// The gradient of [`softmax`], from its result `y`.
///
/// # Panics
/// If a length is wrong.
pub fn softmax_backward(y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
    backward::<false>(y, dy, width, dx);
}

/// The gradient of [`log_softmax`], from its result `y`.
///
/// # Panics
/// If a length is wrong.
pub fn log_softmax_backward(y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
    backward::<true>(y, dy, width, dx);
}

fn check(length: usize, width: usize) -> usize {
    assert!(width > 0 && length.is_multiple_of(width), "{length} values are not rows of {width}");
    (PART / width).max(1) * width
}

fn forward<const LOG: bool>(x: &[f32], width: usize, y: &mut [f32]) {
    let part = check(x.len(), width);
    assert_eq!(x.len(), y.len(), "y is as long as x");
    let _span = profile::span("softmax").work(|| Work::bytes(2 * size_of_val(x)));
    parallel::pieces(y, part, |piece, y| {
        dispatch(Forward::<LOG> { x: &x[piece * part..][..y.len()], width, y });
    });
}

fn backward<const LOG: bool>(y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
    let part = check(y.len(), width);
    assert!(dy.len() == y.len() && dx.len() == y.len(), "dy and dx are as long as y");
    let _span = profile::span("softmax, backward").work(|| Work::bytes(3 * size_of_val(y)));
    parallel::pieces(dx, part, |piece, dx| {
        let (at, length) = (piece * part, dx.len());
        dispatch(Backward::<LOG> { y: &y[at..][..length], dy: &dy[at..][..length], width, dx });
    });
}

struct Forward<'a, const LOG: bool> {
    x: &'a [f32],
    width: usize,
    y: &'a mut [f32],
}

impl<const LOG: bool> Kernel for Forward<'_, LOG> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, y) in self.x.chunks_exact(self.width).zip(self.y.chunks_exact_mut(self.width)) {
            let largest = slices::largest(s, x);
            // With a shift of 0 a row of −∞ keeps its exponentials at zero instead of −∞ - −∞.
            let shift = s.splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
            let mut total = s.zero();
            // Missing lanes add e^−∞ = 0.
            slices::map(
                s,
                [x],
                f32::NEG_INFINITY,
                [&mut *y],
                #[inline(always)]
                |[x]| {
                    let shifted = s.sub(x, shift);
                    let exponential = s.exp(shifted);
                    total = s.add(total, exponential);
                    [if LOG { shifted } else { exponential }]
                },
            );
            let total = s.sum(total);
            let last = match total {
                0.0 => 0.0,
                _ if LOG => total.ln(),
                _ => 1.0 / total,
            };
            let last = s.splat(last);
            slices::update(
                s,
                [[]; 0],
                [y],
                #[inline(always)]
                |_, [y]| [if LOG { s.sub(y, last) } else { s.mul(y, last) }],
            );
        }
    }
}

struct Backward<'a, const LOG: bool> {
    y: &'a [f32],
    dy: &'a [f32],
    width: usize,
    dx: &'a mut [f32],
}

impl<const LOG: bool> Kernel for Backward<'_, LOG> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.y.chunks_exact(self.width).zip(self.dy.chunks_exact(self.width));
        for ((y, dy), dx) in rows.zip(self.dx.chunks_exact_mut(self.width)) {
            let [total] = slices::sums(
                s,
                [y, dy],
                [0.0; 2],
                #[inline(always)]
                |[y, dy]| [if LOG { dy } else { s.mul(y, dy) }],
            );
            let total = s.splat(total);
            slices::map(
                s,
                [y, dy],
                0.0,
                [dx],
                #[inline(always)]
                |[y, dy]| [if LOG { s.sub(dy, s.mul(s.exp(y), total)) } else { s.mul(y, s.sub(dy, total)) }],
            );
        }
    }
}

#[cfg(test)]
mod tests;

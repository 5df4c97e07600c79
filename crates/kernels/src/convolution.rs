//! Short causal depthwise convolution followed by SiLU: every channel of a row is a sum over its own last few values.
//!
//! `y_t = silu(z_t)`, `z_t = Σ_j w_j ⊙ x_{t-width+1+j}` for `j` in `0..width`: the last weight of a channel is that of the row itself,
//! the first that of the oldest row. Rows before the start of a sequence count as zero.
//!
//! Mixers with a fixed memory convolve queries, keys and values so, for example Gu and Dao 2023, arXiv:2312.00752: a token then
//! knows those just before it.
//!
//! Backward, with `dz_t = dy_t ⊙ silu'(z_t)`: `dx_t = Σ_j w_j ⊙ dz_{t+width-1-j}` inside the sequence, `dw_j = Σ_t dz_t ⊙
//! x_{t-width+1+j}`; `z` is computed again.
//!
//! All matrices are row-major without gaps: `x`, `y` and their gradients `[rows, channels]`, weights `[channels, width]`.

mod rows;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::dispatch;
use crate::sum_rows::sum_rows;
use rows::{Backward, Forward, Steps};

/// Values worth handing to a thread.
const PART: usize = 1 << 14;

/// The sizes of a convolution, and which rows it joins.
#[derive(Clone, Copy, Debug)]
pub struct Sizes<'a> {
    /// Channels of a row.
    pub channels: usize,
    /// Rows that a channel is summed over, the row itself among them.
    pub width: usize,
    /// Where the sequences start, and where the last one ends: `[0, …, rows]`.
    pub offsets: &'a [usize],
}

impl Sizes<'_> {
    /// The number of rows.
    fn rows(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// # Panics
    /// If the sizes make no sense or do not fit the slices.
    fn check(&self, x: &[f32], weight: &[f32]) {
        let Self { channels, width, offsets } = *self;
        assert!(channels > 0 && width > 0, "{channels} channels and a width of {width}: both are at least 1");
        let ascending = offsets.windows(2).all(|sequence| sequence[0] <= sequence[1]);
        assert!(ascending && offsets.first().is_none_or(|&first| first == 0), "offsets {offsets:?} ascend from 0");
        let rows = self.rows();
        assert_eq!(x.len(), rows * channels, "{rows} rows of {channels} channels");
        assert_eq!(weight.len(), channels * width, "{width} weights for each of {channels} channels");
    }
}

/// The weights `[channels, width]` as `[width, channels]`, so that channels lie side by side.
fn taps(weight: &[f32], width: usize) -> Vec<f32> {
    let channels = weight.len() / width;
    let mut taps = vec![0.0; weight.len()];
    for (channel, weights) in weight.chunks_exact(width).enumerate() {
        weights.iter().enumerate().for_each(|(tap, &weight)| taps[tap * channels + channel] = weight);
    }
    taps
}

/// `y = silu(x * weight)`.
///
/// # Panics
/// If a length does not fit the sizes.
pub fn forward(sizes: &Sizes<'_>, x: &[f32], weight: &[f32], y: &mut [f32]) {
    sizes.check(x, weight);
    assert_eq!(y.len(), x.len(), "y is as long as x");
    let _span = profile::span("short convolution")
        .work(|| Work { flops: (2 * sizes.width * x.len()) as f64, bytes: (2 * size_of_val(x)) as f64 });
    let taps = taps(weight, sizes.width);
    let together = (PART / sizes.channels).max(1);
    parallel::pieces(y, together * sizes.channels, |piece, y| {
        let first = piece * together;
        let rows = first..first + y.len() / sizes.channels;
        dispatch(Forward { sizes, x, taps: &taps, rows, y });
    });
}

/// Writes the gradient of `x` to `dx` and adds that of the weights to `d_weight`.
///
/// The sums over rows do not depend on the number of threads.
///
/// # Panics
/// If a length does not fit the sizes.
pub fn backward(sizes: &Sizes<'_>, x: &[f32], weight: &[f32], dy: &[f32], dx: &mut [f32], d_weight: &mut [f32]) {
    sizes.check(x, weight);
    assert!(dy.len() == x.len() && dx.len() == x.len(), "dy and dx are as long as x");
    assert_eq!(d_weight.len(), weight.len(), "a gradient for each weight");
    let Sizes { channels, width, .. } = *sizes;
    let _span = profile::span("short convolution, backward")
        .work(|| Work { flops: (6 * width * x.len()) as f64, bytes: (3 * size_of_val(x)) as f64 });
    let taps = taps(weight, width);
    let dx = Disjoint::new(dx);
    // Slopes of a few rows more are computed for each part, so these are not few.
    let together = (PART / channels).max(8 * width);
    let sums = sum_rows(sizes.rows(), weight.len(), |rows, d_taps| {
        for first in rows.clone().step_by(together) {
            let rows = first..rows.end.min(first + together);
            // SAFETY: parts own different rows, all inside a slice as long as `x`.
            let dx = unsafe { dx.range(first * channels, rows.len() * channels) };
            dispatch(Backward { sizes, x, taps: &taps, dy, rows, dx, d_taps: &mut *d_taps });
        }
    });
    for (channel, gradients) in d_weight.chunks_exact_mut(width).enumerate() {
        gradients.iter_mut().enumerate().for_each(|(tap, total)| *total += sums[tap * channels + channel]);
    }
}

/// The rows of several sequences, each with the rows before it in its own one of `tails`, `[width - 1, channels]`, oldest first, which move
/// on. The tail of a new sequence is zero.
///
/// The bits of a row do not depend on where its sequence is cut into calls.
///
/// # Panics
/// If a length does not fit the sizes, or there is not a tail for each sequence.
pub fn steps(sizes: &Sizes<'_>, x: &[f32], weight: &[f32], tails: &mut [&mut [f32]], y: &mut [f32]) {
    sizes.check(x, weight);
    let Sizes { channels, width, offsets } = *sizes;
    assert_eq!(y.len(), x.len(), "y is as long as x");
    assert_eq!(tails.len(), offsets.len().saturating_sub(1), "a tail for each sequence");
    assert!(tails.iter().all(|tail| tail.len() == (width - 1) * channels), "{} rows before each", width - 1);
    let _span = profile::span("short convolution, steps")
        .work(|| Work { flops: (2 * width * x.len()) as f64, bytes: (2 * size_of_val(x)) as f64 });
    let taps = taps(weight, width);
    // Far less work than the projections before it: threads are not worth it.
    for (ends, tail) in offsets.windows(2).zip(tails) {
        let rows = ends[0] * channels..ends[1] * channels;
        dispatch(Steps { channels, width, x: &x[rows.clone()], taps: &taps, tail, y: &mut y[rows] });
    }
}

#[cfg(test)]
mod tests;

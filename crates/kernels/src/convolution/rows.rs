//! Convolution of a few rows by one thread, sixteen channels at a time.

use std::ops::Range;

use super::Sizes;
use crate::activation::functions::{Activation, Silu};
use crate::simd::{Kernel, LANES, Simd};

impl Sizes<'_> {
    /// The parts of `rows` that lie in one sequence each, with this sequence.
    #[inline(always)]
    fn sequences(&self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        // The last sequence that starts at or before the first row.
        let first = self.offsets.partition_point(|&start| start <= rows.start).saturating_sub(1);
        let sequences = self.offsets[first..].windows(2).map(|ends| ends[0]..ends[1]);
        sequences
            .take_while(
                #[inline(always)]
                move |sequence| sequence.start < rows.end,
            )
            .map(
                #[inline(always)]
                move |sequence| (rows.start.max(sequence.start)..rows.end.min(sequence.end), sequence),
            )
    }

    /// The weights of `row` that meet rows of its sequence, which starts at `start`: all but the oldest ones near the start.
    #[inline(always)]
    fn taps_of(&self, row: usize, start: usize) -> Range<usize> {
        self.width.saturating_sub(row - start + 1)..self.width
    }
}

/// `Σ_tap taps[tap] ⊙ x[row - width + 1 + tap]` of the channels from `at` on.
#[inline(always)]
fn sum<S: Simd>(s: S, sizes: &Sizes<'_>, x: &[f32], taps: &[f32], row: usize, start: usize, at: usize) -> S::F {
    let Sizes { channels, width, .. } = *sizes;
    let mut total = s.zero();
    for tap in sizes.taps_of(row, start) {
        let x = &x[(row + tap + 1 - width) * channels..][..channels];
        total = s.fma(s.read(&taps[tap * channels..][..channels], at, 0.0), s.read(x, at, 0.0), total);
    }
    total
}

/// From `x` to the rows `rows` of `y`, which are all that `y` has.
pub(super) struct Forward<'a> {
    pub sizes: &'a Sizes<'a>,
    pub x: &'a [f32],
    /// `[width, channels]`
    pub taps: &'a [f32],
    pub rows: Range<usize>,
    pub y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { sizes, x, taps, rows, y } = self;
        let channels = sizes.channels;
        for (own, sequence) in sizes.sequences(rows.clone()) {
            for row in own {
                let y = &mut y[(row - rows.start) * channels..][..channels];
                for at in (0..channels).step_by(LANES) {
                    let z = sum(s, sizes, x, taps, row, sequence.start, at);
                    s.write(y, at, Silu::value(s, z));
                }
            }
        }
    }
}

/// From `x` and `dy` to the rows `rows` of `dx`, which are all that `dx` has, and their share of the gradient of the weights.
pub(super) struct Backward<'a> {
    pub sizes: &'a Sizes<'a>,
    pub x: &'a [f32],
    /// `[width, channels]`
    pub taps: &'a [f32],
    pub dy: &'a [f32],
    pub rows: Range<usize>,
    pub dx: &'a mut [f32],
    /// `[width, channels]`, added to.
    pub d_taps: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { sizes, x, taps, dy, rows, dx, d_taps } = self;
        let (channels, width) = (sizes.channels, sizes.width);
        // `dz` of the rows, and of those after them that they reach.
        let mut slopes = vec![0.0; (rows.len() + width - 1) * channels];
        for (own, sequence) in sizes.sequences(rows.clone()) {
            let reached = own.start..sequence.end.min(own.end + width - 1);
            let slopes = &mut slopes[(own.start - rows.start) * channels..];
            slopes_of(s, sizes, x, taps, dy, reached.clone(), sequence.start, slopes);
            let dx = &mut dx[(own.start - rows.start) * channels..];
            for at in (0..channels).step_by(LANES) {
                for row in own.clone() {
                    let mut total = s.zero();
                    // A row meets its newest weight in its own sum, and an older one in that of each row after it.
                    for later in row..reached.end.min(row + width) {
                        let tap = &taps[(width - 1 - (later - row)) * channels..][..channels];
                        let slope = &slopes[(later - own.start) * channels..][..channels];
                        total = s.fma(s.read(tap, at, 0.0), s.read(slope, at, 0.0), total);
                    }
                    s.write(&mut dx[(row - own.start) * channels..][..channels], at, total);
                }
            }
            add_taps(s, sizes, x, slopes, own, sequence.start, d_taps);
        }
    }
}

/// `dz = dy ⊙ silu'(z)` of `rows` of a sequence from `start` on, to the first rows of `slopes`.
#[inline(always)]
fn slopes_of<S: Simd>(
    s: S,
    sizes: &Sizes<'_>,
    x: &[f32],
    taps: &[f32],
    dy: &[f32],
    rows: Range<usize>,
    start: usize,
    slopes: &mut [f32],
) {
    let channels = sizes.channels;
    for (row, slopes) in rows.zip(slopes.chunks_exact_mut(channels)) {
        let dy = &dy[row * channels..][..channels];
        for at in (0..channels).step_by(LANES) {
            let z = sum(s, sizes, x, taps, row, start, at);
            s.write(slopes, at, s.mul(s.read(dy, at, 0.0), Silu::slope(s, z)));
        }
    }
}

/// Adds `Σ_row slopes[row] ⊙ x[row - width + 1 + tap]` to every `d_taps[tap]`, over `rows` of a sequence from `start` on, whose first
/// row is that of `slopes`.
#[inline(always)]
fn add_taps<S: Simd>(
    s: S,
    sizes: &Sizes<'_>,
    x: &[f32],
    slopes: &[f32],
    rows: Range<usize>,
    start: usize,
    d_taps: &mut [f32],
) {
    let Sizes { channels, width, .. } = *sizes;
    for at in (0..channels).step_by(LANES) {
        for tap in 0..width {
            let mut total = s.zero();
            // Rows nearer to the start than this meet no row of the sequence by this weight.
            for row in rows.start.max(start + width - 1 - tap)..rows.end {
                let x = &x[(row + tap + 1 - width) * channels..][..channels];
                let slope = &slopes[(row - rows.start) * channels..][..channels];
                total = s.fma(s.read(x, at, 0.0), s.read(slope, at, 0.0), total);
            }
            let d_tap = &mut d_taps[tap * channels..][..channels];
            s.write(d_tap, at, s.add(s.read(d_tap, at, 0.0), total));
        }
    }
}

/// Rows of one sequence, and the rows before them.
pub(super) struct Steps<'a> {
    pub channels: usize,
    pub width: usize,
    pub x: &'a [f32],
    /// `[width, channels]`
    pub taps: &'a [f32],
    /// `[width - 1, channels]`
    pub tail: &'a mut [f32],
    pub y: &'a mut [f32],
}

impl Kernel for Steps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { channels, width, x, taps, tail, y } = self;
        let (older, newest) = taps.split_at((width - 1) * channels);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for at in (0..channels).step_by(LANES) {
                let mut z = s.zero();
                for (tap, x) in older.chunks_exact(channels).zip(tail.chunks_exact(channels)) {
                    z = s.fma(s.read(tap, at, 0.0), s.read(x, at, 0.0), z);
                }
                z = s.fma(s.read(newest, at, 0.0), s.read(x, at, 0.0), z);
                s.write(y, at, Silu::value(s, z));
            }
            if let Some(last) = tail.len().checked_sub(channels) {
                tail.copy_within(channels.., 0);
                tail[last..].copy_from_slice(x);
            }
        }
    }
}

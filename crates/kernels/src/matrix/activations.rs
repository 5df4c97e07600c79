//! Activations rounded to signed bytes, per row and block of 32 inputs.
//!
//! A block has the scale `max |x| / 127` and one digit per value, `round(x / scale)`: symmetric, so zero stays zero. Most of the
//! rounding error of a row comes from its few blocks with an outlier, whose scale is coarse. Such a block (its largest
//! magnitude is more than [`OUTLIER`] times the root mean square of the row) has two digits per value,
//! `round(256 x / scale) = 256 high + low`: it costs a second dot product, and there are few of them.
//!
//! Everything depends on nothing but the row. A block with a value that is not finite has a scale of NaN, so its row's
//! results are NaN.

use super::blocks::{BLOCK, Blocks};
use super::schedule::{Rows, Tile};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Level, Simd, dispatch_at};

/// Words of four codes in a block.
pub(super) const WORDS: usize = BLOCK / 4;

/// What a high digit counts when there is a low one.
pub(super) const BASE: f32 = 256.0;

/// Blocks with a value beyond so many times the row's root mean square have two digits. On SmolLM2-135M (4-bit weights, 4096
/// tokens of prose) 4 brings the agreement on the likeliest token with exact arithmetic from 96.9 to 99.1 %, at a seventh of
/// the prefill's speed; two digits everywhere give 99.9 % for a quarter of it.
const OUTLIER: f32 = 4.0;

/// Below this magnitude a block counts as zero: above it no product of scales is subnormal, even after division by [`BASE`].
const SMALLEST: f32 = 1e-26;

/// Rows in the order the kernel reads them: tile after tile, and in a tile `[block][row]`.
pub(super) struct Activations {
    /// The digits of blocks that have one, the high digits of the others.
    pub high: Digits,
    /// The low digits; zero in blocks that have one digit.
    pub low: Digits,
    /// `[block][row]`; at the first row of a tile: whether any of its rows has two digits there.
    pub two_digits: Vec<bool>,
    /// `[block][row]` scales of the high digits.
    pub scales: Vec<f32>,
    /// `[block][row]`: the sum of the codes times the scale, which multiplies the weights' minimum.
    pub sums: Vec<f32>,
}

/// The rounded rows of one `x`, kept for the next product with them.
#[derive(Default)]
pub(super) struct Rounded {
    /// For weights with codes of this offset.
    kept: Option<(i32, Activations)>,
}

impl Rounded {
    /// The rows of `x`, which must be the same in every call, rounded for a product with `blocks`.
    pub fn of(&mut self, level: Level, x: Rows<'_>, blocks: &Blocks, tiles: &[Tile]) -> &Activations {
        let offset = blocks.offset();
        let kept = self.kept.take().filter(|(kept, _)| *kept == offset);
        let activations = kept.map_or_else(
            || Activations::quantise(level, x, blocks.count, tiles, offset),
            |(_, activations)| activations,
        );
        &self.kept.insert((offset, activations)).1
    }
}

/// Signed bytes.
pub(super) struct Digits {
    /// `[block][row][8]` words of four digits each.
    pub words: Vec<i32>,
    /// `[block][row][2]`: the sums of the digits of both halves times minus the offset of the weights' codes.
    pub starts: Vec<i32>,
}

impl Digits {
    fn zeros(blocks: usize) -> Self {
        Self { words: vec![0; blocks * WORDS], starts: vec![0; 2 * blocks] }
    }

    fn shared(&mut self) -> SharedDigits<'_> {
        SharedDigits { words: Disjoint::new(&mut self.words), starts: Disjoint::new(&mut self.starts) }
    }
}

impl Activations {
    /// Rounds all rows; `offset` is that of the weights' codes.
    pub fn quantise(level: Level, x: Rows<'_>, blocks: usize, tiles: &[Tile], offset: i32) -> Self {
        let count = x.count * blocks;
        let values = count * BLOCK;
        let _span = profile::span("rounding of activations").work(|| Work::bytes(values * (size_of::<f32>() + 1)));
        let mut all = Self {
            high: Digits::zeros(count),
            low: Digits::zeros(count),
            two_digits: vec![false; count],
            scales: vec![0.0; count],
            sums: vec![0.0; count],
        };
        /// Values worth handing to a thread.
        const PART: usize = 1 << 13;
        let together = PART.div_ceil(tiles[0].height * blocks.max(1) * BLOCK);
        let target = Shared {
            high: all.high.shared(),
            low: all.low.shared(),
            two_digits: Disjoint::new(&mut all.two_digits),
            scales: Disjoint::new(&mut all.scales),
            sums: Disjoint::new(&mut all.sums),
        };
        parallel::parts(tiles.len().div_ceil(together), |part| {
            for &tile in tiles.iter().skip(part * together).take(together) {
                dispatch_at(level, QuantiseTile { x, blocks, tile, offset, target: &target });
            }
        });
        all
    }
}

/// The fields of [`Activations`] while workers fill them.
struct Shared<'a> {
    high: SharedDigits<'a>,
    low: SharedDigits<'a>,
    two_digits: Disjoint<'a, bool>,
    scales: Disjoint<'a, f32>,
    sums: Disjoint<'a, f32>,
}

struct SharedDigits<'a> {
    words: Disjoint<'a, i32>,
    starts: Disjoint<'a, i32>,
}

impl SharedDigits<'_> {
    /// Stores a block's digits and returns their sum.
    ///
    /// # Safety
    /// Block `at` must exist and belong to the caller.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, at: usize, [a, b]: [S::F; 2], offset: i32) -> f32 {
        let mut codes = [0; BLOCK];
        // SAFETY: `codes` has 32 elements; the caller owns the block.
        let (words, starts) = unsafe {
            s.store_i8(&mut codes, 0, a);
            s.store_i8(&mut codes, LANES, b);
            (self.words.range(at * WORDS, WORDS), self.starts.range(2 * at, 2))
        };
        for (word, codes) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = i32::from_le_bytes(codes.map(|code| code as u8));
        }
        let sums = [s.sum(a), s.sum(b)];
        starts.copy_from_slice(&sums.map(|sum| -offset * sum as i32));
        sums[0] + sums[1]
    }
}

struct QuantiseTile<'a> {
    x: Rows<'a>,
    blocks: usize,
    tile: Tile,
    offset: i32,
    target: &'a Shared<'a>,
}

impl Kernel for QuantiseTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, blocks, tile: Tile { first, height }, offset, target } = self;
        for r in 0..height {
            let row = x.row(first + r, blocks * BLOCK);
            let limit = OUTLIER * root_mean_square(s, row);
            for (block, values) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                let at = first * blocks + block * height + r;
                // SAFETY: a tile owns the blocks of its rows, and each tile is quantised by one worker.
                unsafe { quantise(s, values, limit, offset, target, at, at - r) };
            }
        }
    }
}

/// `√(Σ x² / n)` of a row of whole blocks.
#[inline(always)]
fn root_mean_square<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut sum = s.zero();
    for values in row.as_chunks::<LANES>().0 {
        let x = s.from_array(*values);
        sum = s.fma(x, x, sum);
    }
    (s.sum(sum) / row.len() as f32).sqrt()
}

/// Rounds a block into place `at` of `target`; the first row of its tile has its block at `of_tile`.
///
/// # Safety
/// Both blocks must exist and belong to the caller.
#[inline(always)]
unsafe fn quantise<S: Simd>(
    s: S,
    values: &[f32; BLOCK],
    limit: f32,
    offset: i32,
    target: &Shared<'_>,
    at: usize,
    of_tile: usize,
) {
    // SAFETY: `values` has 32 elements.
    let [a, b] = unsafe { [s.load(values, 0), s.load(values, LANES)] };
    let largest = s.largest(s.max(s.abs(a), s.abs(b)));
    let (scale, inverse) = if largest < SMALLEST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    // SAFETY: the caller owns the blocks.
    let (sum, scales, sums) = unsafe {
        let sum = if scale > 0.0 && largest > limit {
            let factor = s.splat(inverse * BASE);
            let ([high_a, low_a], [high_b, low_b]) = (two_digits(s, s.mul(a, factor)), two_digits(s, s.mul(b, factor)));
            target.two_digits.range(of_tile, 1)[0] = true;
            target.high.put(s, at, [high_a, high_b], offset) + target.low.put(s, at, [low_a, low_b], offset) / BASE
        } else {
            let factor = s.splat(inverse);
            target.high.put(s, at, [s.round(s.mul(a, factor)), s.round(s.mul(b, factor))], offset)
        };
        (sum, target.scales.range(at, 1), target.sums.range(at, 1))
    };
    // An infinite value times the inverse 0 is NaN, and so is any sum with a NaN.
    scales[0] = if sum.is_nan() { f32::NAN } else { scale };
    sums[0] = scale * sum;
}

/// `round(x) = 256 high + low` with `high` in ±127 and `low` in -128..=127, for `|x|` up to `256 · 127`.
#[inline(always)]
fn two_digits<S: Simd>(s: S, x: S::F) -> [S::F; 2] {
    let x = s.round(x);
    // The quarter settles ties upwards, so that `low` is never +128.
    let high = s.round(s.mul(s.add(x, s.splat(0.25)), s.splat(1.0 / BASE)));
    [high, s.fma(high, s.splat(-BASE), x)]
}

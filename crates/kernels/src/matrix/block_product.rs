//! The product with block-quantised weights: integer dot products of 32 inputs, added up in single precision.
//!
//! With the weights `d_w · (q_w - offset) + m_w` and the activations `d_a · q_a` of a block,
//! `Σ w · a = d_w d_a (Σ q_w q_a - offset Σ q_a) + m_w d_a Σ q_a`. The bracket is an exact integer below 2^24; both terms are
//! one fused addition each, block after block.
//!
//! Where a row of the tile has two digits, the brackets of both are one integer, `256 · high + low`, and the scale is divided
//! by 256. For rows with one digit that changes nothing, since their low digits are zero and 256 is a power of two.

use std::marker::PhantomData;
use std::ops::Range;

use super::activations::{Activations, BASE, Digits, WORDS};
use super::blocks::{BLOCK, Blocks};
use super::schedule::{self, Cost, Rows, Target, Tile, with_height};
use crate::simd::{Kernel, LANES, Level, Simd, check, dispatch_at};

/// Computes all rows of `y`.
pub(super) fn run(level: Level, blocks: &Blocks, x: Rows<'_>, y: &Target<'_>) {
    let tiles = schedule::tiles(x.count, level);
    let activations = Activations::quantise(level, x, blocks.count, &tiles, blocks.offset());
    let inputs = blocks.count * BLOCK;
    let cost = Cost { panel_bytes: blocks.bytes() / y.panels(), inputs, row_bytes: 2 * inputs + inputs / 4 };
    schedule::run(y.panels(), cost, &tiles, |panels, tiles| {
        let product = Product { blocks, activations: &activations, panels, tiles, y };
        match (blocks.nibbles(), blocks.minimums().is_some()) {
            (true, true) => dispatch_at(level, Part::<Nibbles, true>(product, PhantomData)),
            (true, false) => dispatch_at(level, Part::<Nibbles, false>(product, PhantomData)),
            (false, true) => dispatch_at(level, Part::<Bytes, true>(product, PhantomData)),
            (false, false) => dispatch_at(level, Part::<Bytes, false>(product, PhantomData)),
        }
    });
}

/// How the eight groups of a panel block are stored.
trait Codes {
    /// Bytes of a panel block.
    const BYTES: usize;
    /// The bytes of groups `k` and `k + 4` of the panel block at `codes[at..]`.
    ///
    /// # Safety
    /// The panel block must lie inside `codes`, and `k` be below 4.
    unsafe fn groups<S: Simd>(s: S, codes: &[u8], at: usize, k: usize) -> (S::B, S::B);
}

struct Nibbles;

impl Codes for Nibbles {
    const BYTES: usize = BLOCK / 2 * LANES;
    #[inline(always)]
    unsafe fn groups<S: Simd>(s: S, codes: &[u8], at: usize, k: usize) -> (S::B, S::B) {
        // SAFETY: the caller keeps the panel block of 4 · 64 bytes inside `codes`.
        let pairs = unsafe { s.load_bytes(codes, at + k * 4 * LANES) };
        (s.low_nibbles(pairs), s.high_nibbles(pairs))
    }
}

struct Bytes;

impl Codes for Bytes {
    const BYTES: usize = BLOCK * LANES;
    #[inline(always)]
    unsafe fn groups<S: Simd>(s: S, codes: &[u8], at: usize, k: usize) -> (S::B, S::B) {
        // SAFETY: the caller keeps the panel block of 8 · 64 bytes inside `codes`.
        unsafe { (s.load_bytes(codes, at + k * 4 * LANES), s.load_bytes(codes, at + (k + 4) * 4 * LANES)) }
    }
}

/// Some panels of some tiles.
struct Product<'a> {
    blocks: &'a Blocks,
    activations: &'a Activations,
    panels: Range<usize>,
    tiles: &'a [Tile],
    y: &'a Target<'a>,
}

struct Part<'a, C, const MINIMUM: bool>(Product<'a>, PhantomData<C>);

impl<C: Codes, const MINIMUM: bool> Kernel for Part<'_, C, MINIMUM> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for tile in self.0.tiles {
            for panel in self.0.panels.clone() {
                with_height!(tile.height, product::<S, C; _, MINIMUM>(s, &self.0, panel, tile.first));
            }
        }
    }
}

/// One panel of the `HEIGHT` rows from `first`.
#[inline(always)]
fn product<S: Simd, C: Codes, const HEIGHT: usize, const MINIMUM: bool>(
    s: S,
    product: &Product<'_>,
    panel: usize,
    first: usize,
) {
    let Product { blocks, activations, y, .. } = product;
    let count = blocks.count;
    let (codes, scales, minimums) = (blocks.codes(), blocks.scales(), blocks.minimums().unwrap_or(&[]));
    let mut sums = [s.zero(); HEIGHT];
    for block in 0..count {
        let (weight, activation) = (panel * count + block, first * count + block * HEIGHT);
        // SAFETY: there are `panels · count` panel blocks of `BYTES` codes, 16 scales and, with MINIMUM, 16 minimums; and
        // `rows · count` activation blocks, of which `HEIGHT` start at `activation`, since the tile's rows exist.
        unsafe {
            let mut dots = starts::<S, HEIGHT, MINIMUM>(s, &activations.high, activation);
            add_products::<S, C, HEIGHT>(s, codes, weight, &activations.high, activation, &mut dots);
            let mut scale = s.load_f16(scales, weight * LANES);
            if get(&activations.two_digits, activation) {
                let low = starts::<S, HEIGHT, MINIMUM>(s, &activations.low, activation);
                for (dot, low) in dots.iter_mut().zip(low) {
                    *dot = s.append_byte(*dot, low);
                }
                add_products::<S, C, HEIGHT>(s, codes, weight, &activations.low, activation, &mut dots);
                scale = s.mul(scale, s.splat(1.0 / BASE));
            }
            for r in 0..HEIGHT {
                let scale = s.mul(scale, s.splat(get(&activations.scales, activation + r)));
                sums[r] = s.fma(scale, s.to_float(dots[r]), sums[r]);
            }
            if MINIMUM {
                let minimum = s.load_f16(minimums, weight * LANES);
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(minimum, s.splat(get(&activations.sums, activation + r)), *sum);
                }
            }
        }
    }
    for (r, sum) in sums.into_iter().enumerate() {
        // SAFETY: the tile's rows exist, and this part owns its panels of them.
        unsafe { y.write(s, first + r, panel, sum) };
    }
}

/// What the integer sums of the block at `activation` begin with: minus the offset times the sum of the row's digits.
///
/// # Safety
/// `digits` must have `HEIGHT` blocks at `activation`.
#[inline(always)]
unsafe fn starts<S: Simd, const HEIGHT: usize, const MINIMUM: bool>(
    s: S,
    digits: &Digits,
    activation: usize,
) -> [S::I; HEIGHT] {
    // Formats with a minimum have no offset.
    // SAFETY: the caller's promise.
    std::array::from_fn(|r| s.splat_i32(if MINIMUM { 0 } else { unsafe { get(&digits.starts, activation + r) } }))
}

/// Adds the integer products of panel block `weight` with one digit of `HEIGHT` rows.
///
/// # Safety
/// Panel block `weight` must lie inside `codes`, and `digits` have `HEIGHT` blocks at `activation`.
#[inline(always)]
unsafe fn add_products<S: Simd, C: Codes, const HEIGHT: usize>(
    s: S,
    codes: &[u8],
    weight: usize,
    digits: &Digits,
    activation: usize,
    dots: &mut [S::I; HEIGHT],
) {
    for k in 0..WORDS / 2 {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { C::groups(s, codes, weight * C::BYTES, k) };
        for (r, dot) in dots.iter_mut().enumerate() {
            let word = (activation + r) * WORDS + k;
            // SAFETY: the caller's promise.
            let (first, second) = unsafe { (get(&digits.words, word), get(&digits.words, word + WORDS / 2)) };
            *dot = s.dot_u8i8(s.dot_u8i8(*dot, low, first), high, second);
        }
    }
}

/// `values[at]`, checked under `--cfg checked`.
///
/// # Safety
/// `at` must be inside `values`.
#[inline(always)]
unsafe fn get<T: Copy>(values: &[T], at: usize) -> T {
    check(at, 1, values.len());
    // SAFETY: the caller keeps `at` inside.
    unsafe { *values.get_unchecked(at) }
}

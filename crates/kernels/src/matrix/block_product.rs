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

use super::activations::{Activations, BASE, Digits, Rounded, WORDS};
use super::blocks::{BLOCK, Blocks, Numbers};
use super::schedule::{self, Cost, Rows, Target, Tile, with_height};
use crate::simd::float::{F16, F32, Float};
use crate::simd::{Kernel, LANES, Level, Simd, check, dispatch_at};

/// Computes all rows of `y`.
pub(super) fn run(level: Level, blocks: &Blocks, x: Rows<'_>, rounded: &mut Rounded, y: &Target<'_>) {
    let tiles = schedule::tiles(x.count, level);
    let activations = rounded.of(level, x, blocks, &tiles);
    let inputs = blocks.count * BLOCK;
    let cost = Cost { panel_bytes: blocks.bytes() / y.panels(), inputs, row_bytes: 2 * inputs + inputs / 4 };
    schedule::run(y.panels(), cost, &tiles, |panels, tiles| {
        let product = Product { blocks, activations, panels, tiles, y };
        let minimums = blocks.minimums();
        match (blocks.scales(), minimums) {
            (Numbers::Half(scales), None) => by_codes::<F16, false>(level, product, scales.values(), &[]),
            (Numbers::Single(scales), None) => by_codes::<F32, false>(level, product, scales.values(), &[]),
            (Numbers::Half(scales), Some(Numbers::Half(minimums))) => {
                by_codes::<F16, true>(level, product, scales.values(), minimums.values());
            }
            (Numbers::Single(scales), Some(Numbers::Single(minimums))) => {
                by_codes::<F32, true>(level, product, scales.values(), minimums.values());
            }
            _ => unreachable!("scales and minimums have the same form"),
        }
    });
}

/// Chooses the kernel for the form of the codes.
fn by_codes<N: Float, const MINIMUM: bool>(
    level: Level,
    product: Product<'_>,
    scales: &[N::Stored],
    minimums: &[N::Stored],
) {
    match (product.blocks.nibbles(), product.blocks.has_halves()) {
        (true, _) => dispatch_at(level, Part::<Nibbles, N, MINIMUM> { product, scales, minimums, codes: PhantomData }),
        (false, false) => {
            dispatch_at(level, Part::<Bytes, N, MINIMUM> { product, scales, minimums, codes: PhantomData })
        }
        (false, true) => {
            dispatch_at(level, Part::<Halves, N, MINIMUM> { product, scales, minimums, codes: PhantomData })
        }
    }
}

/// How the eight groups of a panel block are stored.
trait Codes {
    /// Bytes of a panel block.
    const BYTES: usize;
    /// Scales of a panel block: each is for as many groups as the others.
    const SCALES: usize = 1;
    /// Two of the groups of scale `part`, number `pair` of them: their numbers and bytes.
    ///
    /// # Safety
    /// The panel block at `codes[at..]` must exist, and have such a pair.
    unsafe fn pair<S: Simd>(s: S, codes: &[u8], at: usize, part: usize, pair: usize) -> [(usize, S::B); 2];
}

/// Two codes in a byte: group `g` low, group `g + 4` high.
struct Nibbles;

impl Codes for Nibbles {
    const BYTES: usize = BLOCK / 2 * LANES;
    #[inline(always)]
    unsafe fn pair<S: Simd>(s: S, codes: &[u8], at: usize, _part: usize, pair: usize) -> [(usize, S::B); 2] {
        // SAFETY: the caller keeps the panel block of 4 · 64 bytes inside `codes`.
        let both = unsafe { s.load_bytes(codes, at + pair * 4 * LANES) };
        [(pair, s.low_nibbles(both)), (pair + 4, s.high_nibbles(both))]
    }
}

/// A code in a byte.
struct Bytes;

impl Codes for Bytes {
    const BYTES: usize = BLOCK * LANES;
    #[inline(always)]
    unsafe fn pair<S: Simd>(s: S, codes: &[u8], at: usize, _part: usize, pair: usize) -> [(usize, S::B); 2] {
        // SAFETY: the caller keeps the panel block of 8 · 64 bytes inside `codes`.
        unsafe { [of_group(s, codes, at, pair), of_group(s, codes, at, pair + 4)] }
    }
}

/// A code in a byte, and a scale for groups 0–3 and one for groups 4–7.
struct Halves;

impl Codes for Halves {
    const BYTES: usize = BLOCK * LANES;
    const SCALES: usize = 2;
    #[inline(always)]
    unsafe fn pair<S: Simd>(s: S, codes: &[u8], at: usize, part: usize, pair: usize) -> [(usize, S::B); 2] {
        let first = part * 4 + pair * 2;
        // SAFETY: as for `Bytes`.
        unsafe { [of_group(s, codes, at, first), of_group(s, codes, at, first + 1)] }
    }
}

/// The codes of `group`, a byte each, of the panel block at `at`.
///
/// # Safety
/// They must lie inside `codes`.
#[inline(always)]
unsafe fn of_group<S: Simd>(s: S, codes: &[u8], at: usize, group: usize) -> (usize, S::B) {
    // SAFETY: the caller's promise.
    (group, unsafe { s.load_bytes(codes, at + group * 4 * LANES) })
}

/// Some panels of some tiles.
struct Product<'a> {
    blocks: &'a Blocks,
    activations: &'a Activations,
    panels: Range<usize>,
    tiles: &'a [Tile],
    y: &'a Target<'a>,
}

/// A [`Product`] with the form of its codes and of its scales and minimums.
struct Part<'a, C, N: Float, const MINIMUM: bool> {
    product: Product<'a>,
    /// `[panel][block][SCALES][16]`.
    scales: &'a [N::Stored],
    /// `[panel][block][16]`; empty without MINIMUM.
    minimums: &'a [N::Stored],
    codes: PhantomData<C>,
}

impl<C: Codes, N: Float, const MINIMUM: bool> Kernel for Part<'_, C, N, MINIMUM> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for tile in self.product.tiles {
            for panel in self.product.panels.clone() {
                with_height!(tile.height, panel_product::<S, C, N; _, MINIMUM>(s, &self, panel, tile.first));
            }
        }
    }
}

/// One panel of the `HEIGHT` rows from `first`.
#[inline(always)]
fn panel_product<S: Simd, C: Codes, N: Float, const HEIGHT: usize, const MINIMUM: bool>(
    s: S,
    part: &Part<'_, C, N, MINIMUM>,
    panel: usize,
    first: usize,
) {
    let Product { blocks, activations, y, .. } = &part.product;
    let (count, codes) = (blocks.count, blocks.codes());
    let mut sums = [s.zero(); HEIGHT];
    for block in 0..count {
        let (weight, activation) = (panel * count + block, first * count + block * HEIGHT);
        for scale in 0..C::SCALES {
            // SAFETY: there are `panels · count` panel blocks with `SCALES` times 16 scales; and `rows · count` activation
            // blocks, of which `HEIGHT` start at `activation`, since the tile's rows exist.
            unsafe {
                let mut dots = starts::<S, C, HEIGHT, MINIMUM>(s, &activations.high, activation, scale);
                add_products::<S, C, HEIGHT>(s, codes, weight, &activations.high, activation, scale, &mut dots);
                let mut scales = N::load(s, part.scales, (weight * C::SCALES + scale) * LANES);
                if get(&activations.two_digits, activation) {
                    let low = starts::<S, C, HEIGHT, MINIMUM>(s, &activations.low, activation, scale);
                    for (dot, low) in dots.iter_mut().zip(low) {
                        *dot = s.append_byte(*dot, low);
                    }
                    add_products::<S, C, HEIGHT>(s, codes, weight, &activations.low, activation, scale, &mut dots);
                    scales = s.mul(scales, s.splat(1.0 / BASE));
                }
                for (r, sum) in sums.iter_mut().enumerate() {
                    let scale = s.mul(scales, s.splat(get(&activations.scales, activation + r)));
                    *sum = s.fma(scale, s.to_float(dots[r]), *sum);
                }
            }
        }
        if MINIMUM {
            // SAFETY: a panel block has 16 minimums; the activation blocks are those above.
            unsafe {
                let minimum = N::load(s, part.minimums, weight * LANES);
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

/// What the integer sums of scale `scale` of the block at `activation` begin with: minus the offset times the sum of the
/// row's digits.
///
/// # Safety
/// `digits` must have `HEIGHT` blocks at `activation`.
#[inline(always)]
unsafe fn starts<S: Simd, C: Codes, const HEIGHT: usize, const MINIMUM: bool>(
    s: S,
    digits: &Digits,
    activation: usize,
    scale: usize,
) -> [S::I; HEIGHT] {
    let mut starts = [s.splat_i32(0); HEIGHT];
    for (r, start) in starts.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a block has two halves.
        let half = |half: usize| unsafe { get(&digits.starts, 2 * (activation + r) + half) };
        *start = s.splat_i32(match (MINIMUM, C::SCALES) {
            // Formats with a minimum have no offset.
            (true, _) => 0,
            (false, 1) => half(0) + half(1),
            (false, _) => half(scale),
        });
    }
    starts
}

/// Adds the integer products of the groups of scale `scale` of panel block `weight` with one digit of `HEIGHT` rows.
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
    scale: usize,
    dots: &mut [S::I; HEIGHT],
) {
    for pair in 0..WORDS / 2 / C::SCALES {
        // SAFETY: the caller's promise.
        let [(i, first), (j, second)] = unsafe { C::pair(s, codes, weight * C::BYTES, scale, pair) };
        for (r, dot) in dots.iter_mut().enumerate() {
            let words = (activation + r) * WORDS;
            // SAFETY: the caller's promise.
            let (a, b) = unsafe { (get(&digits.words, words + i), get(&digits.words, words + j)) };
            *dot = s.dot_u8i8(s.dot_u8i8(*dot, first, a), second, b);
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

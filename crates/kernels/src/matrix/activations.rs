//! Activations rounded to signed bytes, per row and block of 32 inputs.
//!
//! `scale = max |x| / 127`, `code = round(x / scale)`: symmetric, so zero stays zero, and a function of nothing but the
//! block itself. A block with a value that is not finite has a scale of NaN, so its row's results are NaN.

use super::blocks::BLOCK;
use super::schedule::{Rows, Tile};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::simd::{Kernel, LANES, Level, Simd, dispatch_at};

/// Words of four codes in a block.
pub(super) const WORDS: usize = BLOCK / 4;

/// Below this magnitude the reciprocal of a scale overflows, and the block counts as zero.
const SMALLEST: f32 = 1e-36;

/// Rows in the order the kernel reads them: tile after tile, and in a tile `[block][row]`.
pub(super) struct Activations {
    /// `[block][row][8]` words of four codes each.
    pub words: Vec<i32>,
    /// `[block][row]` scales.
    pub scales: Vec<f32>,
    /// `[block][row]`: the sum of the codes times minus the offset of the weights' codes.
    pub starts: Vec<i32>,
    /// `[block][row]`: the sum of the codes times the scale, which multiplies the weights' minimum.
    pub sums: Vec<f32>,
}

impl Activations {
    /// Rounds all rows; `offset` is that of the weights' codes.
    pub fn quantise(level: Level, x: Rows<'_>, blocks: usize, tiles: &[Tile], offset: i32) -> Self {
        let count = x.count * blocks;
        let mut all = Self {
            words: vec![0; count * WORDS],
            scales: vec![0.0; count],
            starts: vec![0; count],
            sums: vec![0.0; count],
        };
        /// Values worth handing to a thread.
        const PART: usize = 1 << 15;
        let together = PART.div_ceil(tiles[0].height * blocks.max(1) * BLOCK);
        let target = Quantised {
            words: Disjoint::new(&mut all.words),
            scales: Disjoint::new(&mut all.scales),
            starts: Disjoint::new(&mut all.starts),
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
struct Quantised<'a> {
    words: Disjoint<'a, i32>,
    scales: Disjoint<'a, f32>,
    starts: Disjoint<'a, i32>,
    sums: Disjoint<'a, f32>,
}

struct QuantiseTile<'a> {
    x: Rows<'a>,
    blocks: usize,
    tile: Tile,
    offset: i32,
    target: &'a Quantised<'a>,
}

impl Kernel for QuantiseTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tile { first, height } = self.tile;
        let (start, count) = (first * self.blocks, height * self.blocks);
        // SAFETY: a tile owns the blocks of its rows, and each tile is quantised by one worker.
        let (words, scales) =
            unsafe { (self.target.words.range(start * WORDS, count * WORDS), self.target.scales.range(start, count)) };
        // SAFETY: as above.
        let (starts, sums) = unsafe { (self.target.starts.range(start, count), self.target.sums.range(start, count)) };
        for r in 0..height {
            let row = self.x.row(first + r, self.blocks * BLOCK);
            for (block, values) in row.chunks_exact(BLOCK).enumerate() {
                let at = block * height + r;
                let (codes, scale, sum) = quantise(s, values);
                for (word, codes) in words[at * WORDS..][..WORDS].iter_mut().zip(codes.as_chunks::<4>().0) {
                    *word = i32::from_le_bytes(codes.map(|code| code as u8));
                }
                (scales[at], starts[at], sums[at]) = (scale, -self.offset * sum as i32, scale * sum);
            }
        }
    }
}

/// The codes of 32 values, their scale, and the sum of the codes (a whole number, or NaN when a value is not finite).
#[inline(always)]
fn quantise<S: Simd>(s: S, values: &[f32]) -> ([i8; BLOCK], f32, f32) {
    assert_eq!(values.len(), BLOCK);
    // SAFETY: `values` has 32 elements.
    let (a, b) = unsafe { (s.load(values, 0), s.load(values, LANES)) };
    let largest = s.largest(s.max(s.abs(a), s.abs(b)));
    let (scale, inverse) = if largest < SMALLEST { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    let inverse = s.splat(inverse);
    let (a, b) = (s.round(s.mul(a, inverse)), s.round(s.mul(b, inverse)));
    let mut codes = [0; BLOCK];
    // SAFETY: `codes` has 32 elements.
    unsafe {
        s.store_i8(&mut codes, 0, a);
        s.store_i8(&mut codes, LANES, b);
    }
    // An infinite value times the inverse 0 is NaN, and so is any sum with a NaN.
    let sum = s.sum(s.add(a, b));
    (codes, if sum.is_nan() { f32::NAN } else { scale }, sum)
}

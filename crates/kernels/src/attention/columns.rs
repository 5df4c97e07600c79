//! How much weight every key received: the second pass that eviction policies ask for.
//!
//! `c_j = Σ_i p_ij` with `p_ij = exp(s_ij - lse_i)`, where the log-sum-exp comes from [`attend`](super::attend). All rows give
//! H2O's accumulated attention (Zhang et al. 2023, arXiv:2306.14048), the last `w` rows SnapKV's observation window
//! (Li et al. 2024, arXiv:2404.14469), the last row TOVA's weights (Oren et al. 2024, arXiv:2401.06104).

use std::ops::Range;

use super::attend::{Segment, Sequence, lines_of};
use super::pass::{SCRATCH, SPLIT, Scratch};
use super::rows::{Rows, Shape};
use super::softmax::refill;
use super::source::{BLOCK, KeyValueBlocks};
use super::spec::AttnSpec;
use super::tile::{LINES, Tile};
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::product::{ROWS, Vectors};
use crate::profile;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Over which query heads of a key/value head the weights are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSum {
    /// Over all heads of the group: one row `[slots]`.
    Group,
    /// Over none: one row per head, `[group, slots]`.
    Each,
}

/// Adds to `out[kv_head]` the weight that each slot received from the segment's rows, row after row: calls over parts of a
/// text give the bits of one call over all of it.
///
/// `query` and `lse` `[rows, heads]` are indexed by the segment's rows, which are the last of the text, as in
/// [`attend`](super::attend).
///
/// # Panics
/// If an `out` has not the length that `sum` states, or `lse` ends before the segment.
pub fn column_sums<B: KeyValueBlocks>(
    spec: &AttnSpec,
    shape: Shape,
    query: Rows<'_>,
    segment: &Segment<'_, B>,
    lse: &[f32],
    sum: HeadSum,
    out: &mut [Vec<f32>],
) {
    shape.check();
    spec.check(shape.heads);
    assert_eq!(segment.heads.len(), shape.kv_heads, "a segment needs one source per key/value head");
    assert_eq!(out.len(), shape.kv_heads, "one output per key/value head");
    let rows_out = if sum == HeadSum::Each { shape.group() } else { 1 };
    let mut units = Vec::new();
    for (kv_head, (source, out)) in segment.heads.iter().zip(out.iter()).enumerate() {
        assert_eq!(out.len(), rows_out * source.slots(), "length of the sums of key/value head {kv_head}");
        units.extend((0..source.slots()).step_by(SPLIT).map(|start| (kv_head, start / SPLIT)));
    }
    let out: Vec<Disjoint<'_, f32>> = out.iter_mut().map(|out| Disjoint::new(out)).collect();
    let sequence = Sequence::new(segment);
    let _span = profile::span("attention, column sums").work(|| work::of_scores(spec, shape, &sequence));
    let call = Call { spec, shape, query, sequence: &sequence, lse, each: sum == HeadSum::Each, out: &out };
    call.run(&units);
}

/// The arguments of a call.
struct Call<'a> {
    spec: &'a AttnSpec,
    shape: Shape,
    query: Rows<'a>,
    sequence: &'a Sequence<'a>,
    lse: &'a [f32],
    each: bool,
    /// A unit owns the columns of its split.
    out: &'a [Disjoint<'a, f32>],
}

impl Call<'_> {
    /// Sums the columns of the units, each a split of a key/value head.
    fn run(&self, units: &[(usize, usize)]) {
        parallel::parts(units.len(), |unit| {
            let (kv_head, split) = units[unit];
            SCRATCH.with_borrow_mut(|scratch| self.split(kv_head, split, scratch));
        });
    }

    /// Sums the columns of one split.
    fn split(&self, kv_head: usize, split: usize, scratch: &mut Scratch) {
        let (shape, source) = (self.shape, self.sequence.heads[kv_head]);
        let blocks = split * SPLIT / BLOCK..((split + 1) * SPLIT).min(source.slots()).div_ceil(BLOCK);
        let (height, block_keys) = (self.height(), shape.head_dim * BLOCK);
        let Scratch { query, sums, keys, .. } = scratch;
        refill(sums, blocks.len() * height * BLOCK, 0.0);
        self.copy(kv_head, blocks.clone(), source.slots(), sums, |sum, out| *sum = *out);
        refill(keys, blocks.len() * block_keys, 0.0);
        for (block, keys) in blocks.clone().zip(keys.chunks_exact_mut(block_keys)) {
            source.decode(block, keys, &mut []);
        }
        let step = (LINES / shape.group()).max(1);
        for start in (0..self.sequence.rows.len()).step_by(step) {
            let rows = start..(start + step).min(self.sequence.rows.len());
            let lines = lines_of(self.spec, shape, self.query, self.sequence, kv_head, rows.clone(), query);
            let lse = self.lse_of(kv_head, rows);
            let tile = Tile::new(self.spec, &lines, query, shape.head_dim, source.positions());
            let decoded = blocks.clone().zip(keys.chunks_exact(block_keys));
            for ((block, keys), sums) in decoded.zip(sums.chunks_exact_mut(height * BLOCK)) {
                if tile.touches(block) {
                    dispatch(AddBlock { tile: &tile, lse: &lse, height, block, keys, sums });
                }
            }
        }
        self.copy(kv_head, blocks, source.slots(), sums, |sum, out| *out = *sum);
    }

    /// Rows of the sums: of a group, or one.
    fn height(&self) -> usize {
        if self.each { self.shape.group() } else { 1 }
    }

    /// The log-sum-exp of the lines of some rows; 0 for lines that saw nothing, whose scores are all −∞.
    fn lse_of(&self, kv_head: usize, rows: Range<usize>) -> Vec<f32> {
        let group = self.shape.group();
        let start = |row: usize| (self.sequence.rows.start + row) * self.shape.heads + kv_head * group;
        let lse = rows.flat_map(|row| &self.lse[start(row)..][..group]);
        lse.map(|&lse| if lse == f32::NEG_INFINITY { 0.0 } else { lse }).collect()
    }

    /// Calls `copy` on every sum of a split's blocks and its place in the output.
    fn copy(
        &self,
        kv_head: usize,
        blocks: Range<usize>,
        slots: usize,
        sums: &mut [f32],
        copy: impl Fn(&mut f32, &mut f32),
    ) {
        let height = self.height();
        for (block, sums) in blocks.zip(sums.chunks_exact_mut(height * BLOCK)) {
            let (start, count) = (block * BLOCK, BLOCK.min(slots - block * BLOCK));
            for (row, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
                // SAFETY: these columns belong to this unit, and `out` has `height` rows of `slots`.
                let out = unsafe { self.out[kv_head].range(row * slots + start, count) };
                sums.iter_mut().zip(out).for_each(|(sum, out)| copy(sum, out));
            }
        }
    }
}

/// Adds the weights of a tile's lines to the sums `[height, BLOCK]` of a block; line `i` belongs to row `i % height`.
struct AddBlock<'a> {
    tile: &'a Tile<'a>,
    lse: &'a [f32],
    height: usize,
    block: usize,
    keys: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for AddBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, lse, height, block, keys, sums } = self;
        let mut scores = [0.0; ROWS * BLOCK];
        for (first, _) in tile.strips(block) {
            let lines = first..(first + ROWS).min(tile.lines.len());
            tile.scores(s, lines.clone(), block, Vectors { data: keys, stride: BLOCK }, &mut scores, None);
            for (line, scores) in lines.zip(scores.chunks_exact(BLOCK)) {
                let (lse, sums) = (s.splat(lse[line]), &mut sums[line % height * BLOCK..][..BLOCK]);
                for at in (0..BLOCK).step_by(LANES) {
                    // SAFETY: both are a block of `BLOCK`.
                    unsafe {
                        let weight = s.exp_below_zero(s.sub(s.load(scores, at), lse));
                        s.store(sums, at, s.add(s.load(sums, at), weight));
                    }
                }
            }
        }
    }
}

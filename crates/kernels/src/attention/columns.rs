//! How much weight every key received: the second pass that eviction policies ask for.
//!
//! `c_j = Σ_i p_ij` with `p_ij = exp(s_ij - lse_i)`, where the log-sum-exp comes from [`attend`](super::attend). All rows give
//! H2O's accumulated attention (Zhang et al. 2023, arXiv:2306.14048), the last `w` rows SnapKV's observation window
//! (Li et al. 2024, arXiv:2404.14469), the last row TOVA's weights (Oren et al. 2024, arXiv:2401.06104).

use std::ops::Range;

use super::attend::{Segment, lines_of};
use super::product::ROWS;
use super::rows::{Rows, Shape};
use super::softmax::refill;
use super::source::{BLOCK, KeyValueBlocks};
use super::spec::AttnSpec;
use super::split::{SCRATCH, SPLIT, Scratch};
use super::tile::{LINES, Tile};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Over which query heads of a key/value head the weights are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSum {
    /// Over all heads of the group: one row `[slots]`.
    Group,
    /// Over none: one row per head, `[group, slots]`.
    Each,
}

/// Adds to `out[kv_head]` the weight that each slot received from the segment's rows.
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
    let call = Call { spec, shape, query, segment, lse, each: sum == HeadSum::Each, out: &out };
    parallel::parts(units.len(), |unit| {
        let (kv_head, split) = units[unit];
        SCRATCH.with_borrow_mut(|scratch| dispatch(SumSplit { call: &call, kv_head, split, scratch }));
    });
}

/// The arguments of a call.
struct Call<'a, B> {
    spec: &'a AttnSpec,
    shape: Shape,
    query: Rows<'a>,
    segment: &'a Segment<'a, B>,
    lse: &'a [f32],
    each: bool,
    /// A unit owns the columns of its split.
    out: &'a [Disjoint<'a, f32>],
}

/// The columns of one split of one key/value head.
struct SumSplit<'a, B> {
    call: &'a Call<'a, B>,
    kv_head: usize,
    split: usize,
    scratch: &'a mut Scratch,
}

impl<B: KeyValueBlocks> Kernel for SumSplit<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, kv_head, split, scratch } = self;
        let (shape, source) = (call.shape, &call.segment.heads[kv_head]);
        let rows = call.segment.rows.len();
        let blocks = split * SPLIT / BLOCK..((split + 1) * SPLIT).min(source.slots()).div_ceil(BLOCK);
        let height = if call.each { shape.group() } else { 1 };
        refill(&mut scratch.sums, blocks.len() * height * BLOCK, 0.0);
        let block_keys = shape.head_dim * BLOCK;
        refill(&mut scratch.keys, blocks.len() * block_keys, 0.0);
        for (block, keys) in blocks.clone().zip(scratch.keys.chunks_exact_mut(block_keys)) {
            source.keys(s, block, keys);
        }
        let step = (LINES / shape.group()).max(1);
        for start in (0..rows).step_by(step) {
            let tile_rows = start..(start + step).min(rows);
            let Scratch { query, sums, keys, .. } = &mut *scratch;
            let lines = lines_of(call.spec, shape, call.query, call.segment, kv_head, tile_rows.clone(), query);
            let tile = Tile::new(call.spec, &lines, query, shape.head_dim, source.positions());
            if !blocks.clone().any(|block| tile.visible.touches(block)) {
                continue;
            }
            let decoded = blocks.clone().zip(keys.chunks_exact(block_keys));
            for ((block, keys), sums) in decoded.zip(sums.chunks_exact_mut(height * BLOCK)) {
                call.add_block(s, &tile, kv_head, tile_rows.start, block, keys, sums);
            }
        }
        call.write(kv_head, blocks, source.slots(), &scratch.sums);
    }
}

impl<B> Call<'_, B> {
    /// Adds the weights of a tile's lines, which start at `row`, to the sums `[1 or group, BLOCK]` of a block.
    #[inline(always)]
    fn add_block<S: Simd>(
        &self,
        s: S,
        tile: &Tile<'_>,
        kv_head: usize,
        row: usize,
        block: usize,
        keys: &[f32],
        sums: &mut [f32],
    ) {
        let group = self.shape.group();
        let mut scores = [0.0; ROWS * BLOCK];
        for first in (0..tile.lines.len()).step_by(ROWS) {
            let lines = first..(first + ROWS).min(tile.lines.len());
            if !tile.strips[first / ROWS].touches(block) {
                continue;
            }
            tile.scores(s, lines.clone(), block, keys, &mut scores, None);
            for (line, scores) in lines.zip(scores.chunks_exact(BLOCK)) {
                let row = self.segment.rows.start + row + line / group;
                let lse = self.lse[row * self.shape.heads + kv_head * group + line % group];
                let sums = &mut sums[if self.each { line % group * BLOCK } else { 0 }..][..BLOCK];
                add_weights(s, scores, lse, sums);
            }
        }
    }

    /// Adds the sums of a split's blocks to the output.
    fn write(&self, kv_head: usize, blocks: Range<usize>, slots: usize, sums: &[f32]) {
        let height = if self.each { self.shape.group() } else { 1 };
        for (block, sums) in blocks.zip(sums.chunks_exact(height * BLOCK)) {
            let (start, count) = (block * BLOCK, BLOCK.min(slots - block * BLOCK));
            for (row, sums) in sums.chunks_exact(BLOCK).enumerate() {
                // SAFETY: these columns belong to this unit, and `out` has `height` rows of `slots`.
                let out = unsafe { self.out[kv_head].range(row * slots + start, count) };
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
    }
}

/// Adds `exp(s - lse)` of a block's scores.
#[inline(always)]
fn add_weights<S: Simd>(s: S, scores: &[f32], lse: f32, sums: &mut [f32]) {
    // A row that saw nothing has only scores of −∞, whose distance to any number is −∞.
    let lse = s.splat(if lse == f32::NEG_INFINITY { 0.0 } else { lse });
    for at in (0..BLOCK).step_by(LANES) {
        // SAFETY: both slices are a block of `BLOCK`.
        unsafe {
            let weight = s.exp(s.sub(s.load(scores, at), lse));
            s.store(sums, at, s.add(s.load(sums, at), weight));
        }
    }
}

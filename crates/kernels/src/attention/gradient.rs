//! The gradient of a tile of lines with one block of keys.
//!
//! With `P_ij = exp(s_ij - lse_i)` recomputed and `D_i = Σ_c dO_ic O_ic - dlse_i`: `dP = dO Vᵀ`, `ds = P (dP - D)`,
//! `dV += Pᵀ dO`; then, through the soft cap, `ds *= 1 - (s_cap / cap)²`, `dQ += scale · ds K`, `dK += scale · dsᵀ Q`.

use std::ops::Range;

use super::softmax::refill;
use super::source::BLOCK;
use super::tile::{Tile, key_positions};
use crate::product::{Factors, ROWS, Size, Start, Vectors, multiply};
use crate::simd::{LANES, Simd};

/// Working memory of a worker, kept from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys and values of a pair, brought into the form of blocks.
    pub prepared: [Vec<f32>; 3],
    pub tile: TileScratch,
}

/// Working memory for tiles.
#[derive(Default)]
pub(super) struct TileScratch {
    /// Scaled queries and upstream gradients of a tile, and its query gradients, rows padded to whole vectors.
    pub query: Vec<f32>,
    pub d_out: Vec<f32>,
    pub d_query: Vec<f32>,
    /// Per line: log-sum-exp, `D`, and the gradient of its slope.
    pub lse: Vec<f32>,
    pub delta: Vec<f32>,
    pub d_slope: Vec<f32>,
    /// Gradients of a range of keys and values, rows padded to whole vectors.
    pub d_key: Vec<f32>,
    pub d_value: Vec<f32>,
    /// `P`, `ds` and the capped scores of a tile and a block, `[lines, BLOCK]`.
    pub block: BlockGradients,
}

/// What is made of the scores of a tile and a block, `[lines, BLOCK]` each.
#[derive(Default)]
pub(super) struct BlockGradients {
    weights: Vec<f32>,
    /// `ds` with respect to the score as it enters the softmax.
    pub d_scores: Vec<f32>,
    capped: Vec<f32>,
}

/// A tile with what its gradient needs.
pub(super) struct GradientTile<'a> {
    pub tile: Tile<'a>,
    pub d_out: &'a [f32],
    pub lse: &'a [f32],
    pub delta: &'a [f32],
    pub value_dim: usize,
}

impl GradientTile<'_> {
    /// The lines that see something of `block`, as whole strips.
    #[inline(always)]
    pub fn lines(&self, block: usize) -> Range<usize> {
        let first = self.tile.strips(block).next().map_or(0, |(first, _)| first);
        let end = self.tile.strips(block).next_back().map_or(0, |(last, _)| last + ROWS);
        first..end.min(self.tile.lines.len())
    }

    /// Makes `P` and `ds` of some lines with a block, from the block's transposed keys and values.
    #[inline(always)]
    pub fn differentiate<S: Simd>(
        &self,
        s: S,
        lines: Range<usize>,
        block: usize,
        keys: &[f32],
        values: &[f32],
        out: &mut BlockGradients,
    ) {
        let length = self.tile.lines.len() * BLOCK;
        out.weights.resize(length, 0.0);
        out.d_scores.resize(length, 0.0);
        out.capped.resize(if self.tile.softcap.is_some() { length } else { 0 }, 0.0);
        let at = lines.start * BLOCK;
        let capped = self.tile.softcap.map(|_| &mut out.capped[at..]);
        let columns = Vectors { data: keys, stride: BLOCK };
        self.tile.scores(s, lines.clone(), block, columns, &mut out.weights[at..], capped);
        let size = Size { rows: lines.len(), vectors: BLOCK / LANES, steps: self.value_dim };
        let stride = self.value_dim.next_multiple_of(LANES);
        let a = Factors { data: &self.d_out[lines.start * stride..], row_stride: stride, step_stride: 1 };
        multiply(s, size, a, Vectors { data: values, stride: BLOCK }, Start::Zero, &mut out.d_scores[at..], BLOCK);
        for line in lines {
            // A line that saw nothing has only scores of −∞, whose distance to any number is −∞.
            let lse = s.splat(if self.lse[line] == f32::NEG_INFINITY { 0.0 } else { self.lse[line] });
            let delta = s.splat(self.delta[line]);
            for at in (line * BLOCK..(line + 1) * BLOCK).step_by(LANES) {
                // SAFETY: both buffers have a block for every line.
                unsafe {
                    let weight = s.exp_below_zero(s.sub(s.load(&out.weights, at), lse));
                    let d_score = s.mul(weight, s.sub(s.load(&out.d_scores, at), delta));
                    s.store(&mut out.weights, at, weight);
                    s.store(&mut out.d_scores, at, d_score);
                }
            }
        }
    }

    /// Adds `Σ_j ds_ij · -|i - j|` to the slope gradient of each line.
    #[inline(always)]
    pub fn add_slopes<S: Simd>(
        &self,
        s: S,
        lines: Range<usize>,
        block: usize,
        of: &BlockGradients,
        d_slope: &mut [f32],
    ) {
        for line in lines {
            let position = s.splat(self.tile.lines[line].position);
            let mut sum = s.zero();
            for at in (0..BLOCK).step_by(LANES) {
                let distance = s.abs(s.sub(position, key_positions(s, None, block * BLOCK + at)));
                // SAFETY: there is a block for every line.
                sum = s.fma(unsafe { s.load(&of.d_scores, line * BLOCK + at) }, distance, sum);
            }
            d_slope[line] -= s.sum(sum);
        }
    }

    /// Takes `ds` back through the soft cap, if there is one: from the capped score to the score.
    #[inline(always)]
    pub fn uncap<S: Simd>(&self, s: S, lines: Range<usize>, of: &mut BlockGradients) {
        let Some(cap) = self.tile.softcap else { return };
        let (inverse, one) = (s.splat(1.0 / cap), s.splat(1.0));
        for at in (lines.start * BLOCK..lines.end * BLOCK).step_by(LANES) {
            // SAFETY: both buffers have a block for every line.
            unsafe {
                let tanh = s.mul(s.load(&of.capped, at), inverse);
                let d_score = s.mul(s.load(&of.d_scores, at), s.sub(one, s.mul(tanh, tanh)));
                s.store(&mut of.d_scores, at, d_score);
            }
        }
    }

    /// `dV += Pᵀ dO` and `dK += dsᵀ Q` for the rows of a block; the queries carry the scale.
    #[inline(always)]
    pub fn add_to_keys<S: Simd>(
        &self,
        s: S,
        lines: Range<usize>,
        of: &BlockGradients,
        d_key: &mut [f32],
        d_value: &mut [f32],
    ) {
        for (factors, vectors, width, out) in [
            (&of.weights, self.d_out, self.value_dim, d_value),
            (&of.d_scores, self.tile.query, self.tile.head_dim, d_key),
        ] {
            let stride = width.next_multiple_of(LANES);
            let size = Size { rows: BLOCK, vectors: stride / LANES, steps: lines.len() };
            let a = Factors { data: &factors[lines.start * BLOCK..], row_stride: 1, step_stride: BLOCK };
            let b = Vectors { data: &vectors[lines.start * stride..], stride };
            multiply(s, size, a, b, Start::Keep, out, stride);
        }
    }

    /// `dQ += ds K` without the scale; `keys` are the block's rows.
    #[inline(always)]
    pub fn add_to_queries<S: Simd>(
        &self,
        s: S,
        lines: Range<usize>,
        block: usize,
        of: &BlockGradients,
        keys: Vectors<'_>,
        d_query: &mut [f32],
    ) {
        let stride = self.tile.head_dim.next_multiple_of(LANES);
        let columns = self.tile.visible.columns(block);
        let size = Size { rows: lines.len(), vectors: stride / LANES, steps: columns.len() };
        let factors = &of.d_scores[lines.start * BLOCK + columns.start..];
        let a = Factors { data: factors, row_stride: BLOCK, step_stride: 1 };
        let b = Vectors { data: &keys.data[columns.start * keys.stride..], stride: keys.stride };
        multiply(s, size, a, b, Start::Keep, &mut d_query[lines.start * stride..], stride);
    }
}

/// Starts a buffer of `rows` zero rows of `width`, padded to whole vectors.
pub(super) fn zero_rows(data: &mut Vec<f32>, rows: usize, width: usize) {
    refill(data, rows * width.next_multiple_of(LANES), 0.0);
}

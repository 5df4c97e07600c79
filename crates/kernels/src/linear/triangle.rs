//! Products with the weights of a chunk, `[CHUNK, CHUNK]`, of which only those of a token and earlier ones or itself matter.

use super::CHUNK;
use super::product::multiply;
use super::rows::Rows;
use crate::product::{Factors, Size, Start};
use crate::simd::{LANES, Simd};

/// Rows that are multiplied at once: two register tiles, so that little above the diagonal is computed.
const BAND: usize = 12;

/// `W_ij = Σ a_i b_j` for the `tokens` first tokens and `j ≤ i`; `b` is transposed. What is above the diagonal is unspecified.
#[inline(always)]
pub(super) fn products<S: Simd>(s: S, tokens: usize, steps: usize, a: &Rows, b: &Rows, weights: &mut Rows) {
    for first in (0..tokens).step_by(BAND) {
        let end = (first + BAND).min(tokens);
        let size = Size { rows: end - first, vectors: end.div_ceil(LANES), steps };
        let out = &mut weights.values_mut()[first * CHUNK..];
        multiply(s, size, a.factors(first), b.vectors_from(0), Start::Zero, out, CHUNK);
    }
}

/// Sets everything above the diagonal to zero.
#[inline(always)]
pub(super) fn clear_above<S: Simd>(s: S, tokens: usize, weights: &mut Rows) {
    for token in 0..tokens {
        let end = s.splat(token as f32 + 1.0);
        let row = weights.row_mut(token);
        for at in (token / LANES * LANES..CHUNK).step_by(LANES) {
            s.write(row, at, s.select_less(columns_from(s, at), end, s.read(row, at, 0.0), s.zero()));
        }
    }
}

/// The column numbers `at, at + 1, …` of a vector.
#[inline(always)]
pub(super) fn columns_from<S: Simd>(s: S, at: usize) -> S::F {
    let lanes = s.from_array([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.]);
    s.add(lanes, s.splat(at as f32))
}

/// `out_i ← out_i + Σ_{j ≤ i} W_ij b_j`, or with `factors` `f_i out_i + …`; zeros above the diagonal.
#[inline(always)]
pub(super) fn add_earlier<S: Simd>(
    s: S,
    tokens: usize,
    weights: &Rows,
    b: &Rows,
    factors: Option<&[f32; CHUNK]>,
    out: &mut Rows,
) {
    let stride = out.stride;
    for first in (0..tokens).step_by(BAND) {
        let end = (first + BAND).min(tokens);
        let size = Size { rows: end - first, vectors: out.vectors(), steps: end };
        let out = &mut out.values_mut()[first * stride..];
        let start = factors.map_or(Start::Keep, |factors| Start::Scale(&factors[first..]));
        multiply(s, size, weights.factors(first), b.vectors_from(0), start, out, stride);
    }
}

/// `out_j += Σ_{i ≥ j} W_ij b_i` for the columns of `out`; zeros above the diagonal.
#[inline(always)]
pub(super) fn add_later<S: Simd>(s: S, tokens: usize, weights: &Rows, b: &Rows, out: &mut Rows) {
    let stride = out.stride;
    for first in (0..tokens).step_by(BAND) {
        let end = (first + BAND).min(tokens);
        let size = Size { rows: end - first, vectors: out.vectors(), steps: tokens - first };
        let data = &weights.values()[first * CHUNK + first..];
        let a = Factors { data, row_stride: 1, step_stride: CHUNK };
        let out = &mut out.values_mut()[first * stride..];
        multiply(s, size, a, b.vectors_from(first), Start::Keep, out, stride);
    }
}

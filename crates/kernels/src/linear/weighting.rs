//! Rows of tokens times rows of weights, channel by channel.

use std::ops::Range;

use super::decay::SMALLEST;
use super::rows::Rows;
use crate::simd::{LANES, Simd};

/// `weight · factor`, or zero if that is too small.
#[inline(always)]
pub(super) fn shrink<S: Simd>(s: S, weight: S::F, factor: S::F) -> S::F {
    let weight = s.mul(weight, factor);
    s.select_less(s.abs(weight), s.splat(SMALLEST), s.zero(), weight)
}

/// `out = a ⊙ b` for some tokens.
#[inline(always)]
pub(super) fn multiply_rows<S: Simd>(s: S, tokens: Range<usize>, a: &Rows, b: &Rows, out: &mut Rows) {
    let (elements, stride) = (tokens.start * a.stride..tokens.end * a.stride, a.stride);
    assert!(b.stride == stride && out.stride == stride, "rows of one width");
    for at in elements.step_by(LANES) {
        s.write(out.values_mut(), at, s.mul(s.read(a.values(), at, 0.0), s.read(b.values(), at, 0.0)));
    }
}

/// `out = rows ⊙ weights` for some tokens that share a row of weights.
#[inline(always)]
pub(super) fn weigh_rows<S: Simd>(s: S, tokens: Range<usize>, rows: &Rows, weights: &[f32], out: &mut Rows) {
    for token in tokens {
        let (row, out) = (rows.row(token), out.row_mut(token));
        for at in (0..weights.len()).step_by(LANES) {
            s.write(out, at, s.mul(s.read(row, at, 0.0), s.read(weights, at, 0.0)));
        }
    }
}

/// `rows ← shrink(rows, weights)` for some tokens.
#[inline(always)]
pub(super) fn shrink_rows<S: Simd>(s: S, tokens: Range<usize>, weights: &[f32], rows: &mut Rows) {
    for token in tokens {
        let row = rows.row_mut(token);
        for at in (0..weights.len()).step_by(LANES) {
            s.write(row, at, shrink(s, s.read(row, at, 0.0), s.read(weights, at, 0.0)));
        }
    }
}

/// `rows *= a ⊙ b` for some tokens that share the row `b`.
#[inline(always)]
pub(super) fn weigh_twice<S: Simd>(s: S, tokens: Range<usize>, a: &Rows, b: &[f32], rows: &mut Rows) {
    for token in tokens {
        let (a, row) = (a.row(token), rows.row_mut(token));
        for at in (0..b.len()).step_by(LANES) {
            let weight = s.mul(s.read(a, at, 0.0), s.read(b, at, 0.0));
            s.write(row, at, s.mul(s.read(row, at, 0.0), weight));
        }
    }
}

/// `rows += gradients ⊙ parts` for some tokens.
#[inline(always)]
pub(super) fn add_weighted<S: Simd>(s: S, tokens: Range<usize>, gradients: &Rows, parts: &Rows, rows: &mut Rows) {
    for token in tokens {
        let row = rows.row_mut(token);
        for at in (0..row.len()).step_by(LANES) {
            let (gradient, part) = (s.read(gradients.row(token), at, 0.0), s.read(parts.row(token), at, 0.0));
            s.write(row, at, s.fma(gradient, part, s.read(row, at, 0.0)));
        }
    }
}

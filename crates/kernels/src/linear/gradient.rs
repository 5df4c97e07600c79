//! The gradients of one chunk; `backward.rs` holds the equations.

use super::CHUNK;
use super::chunk::Chunk;
use super::decay::ChunkDecay;
use super::product::multiply;
use super::rows::Rows;
use super::triangle::{add_later, clear_above, products};
use crate::product::{Size, Start};
use crate::simd::slices::sums;
use crate::simd::{LANES, Simd};

/// A chunk, and the gradients of what it reads and of the state before it.
#[derive(Default)]
pub(super) struct ChunkGradient {
    pub chunk: Chunk,
    /// The state before the chunk, and the gradient of that after it.
    pub state: Rows,
    /// The sums of keys before the chunk, if outputs are normalised.
    pub sums: Vec<f32>,
    pub d_state: Rows,
    pub d_out: Rows,
    pub d_query: Rows,
    pub d_key: Rows,
    pub d_value: Rows,
    pub d_weights: Rows,
    pub transposed: Rows,
    /// `rowsum(S_end ⊙ dS)`
    pub d_end: Vec<f32>,
}

impl ChunkGradient {
    /// What passes through the states: `dQ_in`, `dK_out`, the last part of `dV` for its `columns`, and with `ends`
    /// `carry ⊙ rowsum(S ⊙ dS)`.
    #[inline(always)]
    pub fn through_state<S: Simd>(&mut self, s: S, columns: usize, ends: bool) {
        let Self { chunk, state, d_state, d_out, d_query, d_key, d_value, transposed, d_end, .. } = self;
        let (tokens, stride) = (chunk.tokens, chunk.key.stride);
        [&mut *d_query, &mut *d_key].into_iter().for_each(|rows| rows.resize(CHUNK, stride));
        d_value.resize(CHUNK, columns);
        let size = Size { rows: tokens, vectors: stride / LANES, steps: chunk.columns };
        transposed.transpose_of(s, state, 0..chunk.key_dim);
        multiply(s, size, d_out.factors(0), transposed.vectors_from(0), Start::Zero, d_query.values_mut(), stride);
        transposed.transpose_of(s, d_state, 0..chunk.key_dim);
        multiply(s, size, chunk.value.factors(0), transposed.vectors_from(0), Start::Zero, d_key.values_mut(), stride);
        let (size, width) = (Size { rows: tokens, vectors: d_value.vectors(), steps: chunk.key_dim }, d_value.stride);
        multiply(s, size, chunk.key_out.factors(0), d_state.vectors_from(0), Start::Zero, d_value.values_mut(), width);
        d_end.clear();
        d_end.resize(stride, 0.0);
        if !ends {
            return;
        }
        for (channel, d_end) in d_end[..chunk.key_dim].iter_mut().enumerate() {
            let [sum] = sums(
                s,
                [state.row(channel), d_state.row(channel)],
                [0.0; 2],
                #[inline(always)]
                |[a, b]| [s.mul(a, b)],
            );
            *d_end = chunk.carry[channel] * sum;
        }
    }

    /// What passes through the weights of the chunk.
    #[inline(always)]
    pub fn through_weights<S: Simd>(&mut self, s: S, decay: &mut impl ChunkDecay) {
        let Self { chunk, d_out, d_query, d_key, d_value, d_weights, transposed, .. } = self;
        add_later(s, chunk.tokens, &chunk.weights, d_out, d_value);
        d_weights.resize(CHUNK, CHUNK);
        transposed.transpose_of(s, &chunk.value, 0..chunk.tokens);
        products(s, chunk.tokens, chunk.columns, d_out, transposed, d_weights);
        clear_above(s, chunk.tokens, d_weights);
        decay.differentiate(s, chunk, d_weights, d_query, d_key);
    }

    /// `dS ← diag(carry) dS + Q_inᵀ dO`
    #[inline(always)]
    pub fn advance<S: Simd>(&mut self, s: S) {
        let Self { chunk, d_state, d_out, .. } = self;
        let stride = d_state.stride;
        let size = Size { rows: chunk.key_dim, vectors: d_state.vectors(), steps: chunk.tokens };
        let (queries, gradients) = (chunk.query_in.factors_transposed(0), d_out.vectors_from(0));
        multiply(s, size, queries, gradients, Start::Scale(&chunk.carry), d_state.values_mut(), stride);
    }
}

/// `sums += a ⊙ b`
#[inline(always)]
pub(super) fn add_product<S: Simd>(s: S, a: &[f32], b: &[f32], sums: &mut [f32]) {
    for at in (0..a.len()).step_by(LANES) {
        s.write(sums, at, s.fma(s.read(a, at, 0.0), s.read(b, at, 0.0), s.read(sums, at, 0.0)));
    }
}

/// `sums -= a ⊙ b`
#[inline(always)]
pub(super) fn subtract_product<S: Simd>(s: S, a: &[f32], b: &[f32], sums: &mut [f32]) {
    for at in (0..a.len()).step_by(LANES) {
        let product = s.mul(s.read(a, at, 0.0), s.read(b, at, 0.0));
        s.write(sums, at, s.sub(s.read(sums, at, 0.0), product));
    }
}

//! What a chunk needs to know of its decay; one implementation for each kind.

use super::CHUNK;
use super::chunk::Chunk;
use super::inputs::Decay;
use super::rows::Rows;
use super::stream::Place;
use crate::simd::Simd;

/// A weight below this is zero: products of numbers that are not normal would be slow.
pub(super) const SMALLEST: f32 = 1e-36;

/// A chunk as it meets the state, for a pass that needs this once.
pub(super) struct Met<'a> {
    pub tokens: usize,
    pub key_dim: usize,
    pub query: &'a Rows,
    /// Factors of what the queries read from the state before the chunk.
    pub reach: [f32; CHUNK],
    /// The keys as they enter the state after the chunk.
    pub key: &'a Rows,
    /// What becomes of each row of the state from before the chunk to after it.
    pub carry: &'a [f32],
    pub value: &'a Rows,
    /// What earlier tokens of the chunk count; zeros above the diagonal.
    pub weights: &'a Rows,
}

/// The decay inside one chunk. Token `i`'s factor is `a_i`; all weights are products of factors.
pub(super) trait ChunkDecay: Default {
    /// Reads the factors of the tokens of `place`.
    fn read<S: Simd>(&mut self, s: S, decay: &Decay<'_>, place: &Place, key_dim: usize);

    /// Makes `carry = Π a`, and the rows that meet the state: `query_in_i = q_i Π_{t ≤ i} a_t` that before the chunk,
    /// `key_out_j = k_j Π_{t > j} a_t` that after it.
    fn meet_state<S: Simd>(&mut self, s: S, chunk: &mut Chunk);

    /// Makes `W_ij = Σ_f q_if k_jf Π_{j < t ≤ i} a_tf` for `j ≤ i`, and zeros above.
    fn weigh<S: Simd>(&mut self, s: S, chunk: &mut Chunk);

    /// As [`meet_state`](Self::meet_state) and [`weigh`](Self::weigh) together, with fewer copies: the keys of the chunk may be lost.
    fn meet<'a, S: Simd>(&mut self, s: S, chunk: &'a mut Chunk) -> Met<'a>;

    /// Multiplies the rows of `query` as `meet_state` does those of the queries, the rows of `key` as those of the keys.
    fn scale_as_met<S: Simd>(&self, s: S, tokens: usize, query: &mut Rows, key: &mut Rows);

    /// Adds the gradients of queries and keys through the weights, of which `d_weights` has the gradients and zeros above
    /// the diagonal.
    fn differentiate<S: Simd>(
        &mut self,
        s: S,
        chunk: &Chunk,
        d_weights: &mut Rows,
        d_query: &mut Rows,
        d_key: &mut Rows,
    );
}

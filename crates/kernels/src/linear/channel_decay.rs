//! A factor for each channel of a key: `W_ij = Σ_f q_if k_jf Π_{j < t ≤ i} a_tf`.
//!
//! The tokens of a chunk are cut in blocks of [`BLOCK`]. Inside a block, the weights are summed as the equation says. Between a key
//! and a query of a later block the factors are cut where blocks begin: those that the key meets in its own block, those of whole
//! blocks between, and those of the query's block up to the query. So the queries of a block and the keys of all earlier ones, as
//! they enter it, make a product of matrices. All parts are at most 1, which parts relative to any other token would not be.

use std::ops::Range;

use super::CHUNK;
use super::chunk::Chunk;
use super::decay::{ChunkDecay, Met};
use super::inputs::Decay;
use super::product::multiply;
use super::rows::Rows;
use super::stream::Place;
use super::triangle::clear_above;
use super::weighting::{add_weighted, multiply_rows, shrink, shrink_rows, weigh_rows, weigh_twice};
use crate::product::{Factors, Size, Start};
use crate::simd::{LANES, Simd};

/// Tokens whose weights among each other are summed channel by channel.
const BLOCK: usize = LANES;

/// The factors of a chunk, and room for its queries and keys times them.
#[derive(Default)]
pub(super) struct ChannelDecay {
    /// `[CHUNK, key_dim]`
    factors: Rows,
    /// Products of factors in the block of a token: up to it, and after it.
    from_start: Rows,
    to_end: Rows,
    /// Products over all blocks before one, and over all after it: `[CHUNK / BLOCK, key_dim]`.
    before: Rows,
    after: Rows,
    /// Queries times `from_start`, and keys times `to_end`.
    queries: Rows,
    keys: Rows,
    transposed: Rows,
    /// Gradients of these queries, then of these keys.
    d_scaled: Rows,
}

/// The blocks of some tokens, of which the first begins a block.
fn blocks(tokens: Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let end = tokens.end;
    tokens.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
}

impl ChannelDecay {
    /// Sets the products of factors.
    #[inline(always)]
    fn multiply_factors<S: Simd>(&mut self, s: S, tokens: usize, key_dim: usize) {
        let Self { factors, from_start, to_end, before, after, .. } = self;
        [&mut *from_start, &mut *to_end].into_iter().for_each(|rows| rows.resize(CHUNK, key_dim));
        [&mut *before, &mut *after].into_iter().for_each(|rows| rows.resize(CHUNK / BLOCK, key_dim));
        for at in (0..factors.stride).step_by(LANES) {
            let mut whole = s.splat(1.0);
            for block in blocks(0..tokens) {
                s.write(before.row_mut(block.start / BLOCK), at, whole);
                let mut part = s.splat(1.0);
                for token in block {
                    part = shrink(s, part, s.read(factors.row(token), at, 1.0));
                    s.write(from_start.row_mut(token), at, part);
                }
                whole = shrink(s, whole, part);
            }
            let mut whole = s.splat(1.0);
            for block in blocks(0..tokens).rev() {
                s.write(after.row_mut(block.start / BLOCK), at, whole);
                let mut part = s.splat(1.0);
                for token in block.rev() {
                    s.write(to_end.row_mut(token), at, part);
                    part = shrink(s, part, s.read(factors.row(token), at, 1.0));
                }
                whole = shrink(s, whole, part);
            }
        }
    }

    /// The weights of the tokens of a block among each other; what is above the diagonal is unspecified.
    #[inline(always)]
    fn weigh_block<S: Simd>(&self, s: S, first: usize, chunk: &mut Chunk) {
        for key in 0..BLOCK {
            let weights = match key / 4 {
                0 => self.weights_of_key::<S, 16>(s, first, key, chunk),
                1 => self.weights_of_key::<S, 12>(s, first, key, chunk),
                2 => self.weights_of_key::<S, 8>(s, first, key, chunk),
                _ => self.weights_of_key::<S, 4>(s, first, key, chunk),
            };
            for (query, weight) in (key..BLOCK).zip(s.to_array(weights)) {
                chunk.weights.row_mut(first + query)[first + key] = weight;
            }
        }
    }

    /// The weights of a key of the block that starts at `first`: a lane for each of `ROWS` queries from its own on, or unspecified after
    /// the last of the block.
    #[inline(always)]
    fn weights_of_key<S: Simd, const ROWS: usize>(&self, s: S, first: usize, key: usize, chunk: &Chunk) -> S::F {
        let stride = self.factors.stride;
        assert!(chunk.query.stride == stride && (first + BLOCK) * stride <= chunk.query.values().len());
        assert!((first + BLOCK) * stride <= self.factors.values().len(), "factors of every query");
        let rows: [usize; ROWS] = std::array::from_fn(|row| (first + (key + row).min(BLOCK - 1)) * stride);
        let mut sums = [s.zero(); LANES];
        for at in (0..stride).step_by(LANES) {
            let mut decayed = s.read(chunk.key.row(first + key), at, 0.0);
            for (row, (&start, sum)) in rows.iter().zip(&mut sums).enumerate() {
                // SAFETY: both have whole vectors in the rows of the block, as checked above.
                unsafe {
                    if row > 0 {
                        decayed = s.mul(decayed, s.load(self.factors.values(), start + at));
                    }
                    *sum = s.fma(s.load(chunk.query.values(), start + at), decayed, *sum);
                }
            }
        }
        s.sums(sums)
    }

    /// The gradients through the weights of the tokens of a block among each other.
    #[inline(always)]
    fn differentiate_block<S: Simd>(
        &self,
        s: S,
        block: Range<usize>,
        chunk: &Chunk,
        d_weights: &Rows,
        d_query: &mut Rows,
        d_key: &mut Rows,
    ) {
        for at in (0..self.factors.stride).step_by(LANES) {
            let mut d_queries = [s.zero(); BLOCK];
            for j in block.clone() {
                let key = s.read(chunk.key.row(j), at, 0.0);
                let mut d_key_j = s.read(d_key.row(j), at, 0.0);
                let mut part = s.splat(1.0);
                for (d_query, i) in d_queries[j - block.start..].iter_mut().zip(j..block.end) {
                    if i > j {
                        part = shrink(s, part, s.read(self.factors.row(i), at, 1.0));
                    }
                    let weighted = s.mul(s.splat(d_weights.row(i)[j]), part);
                    *d_query = s.fma(weighted, key, *d_query);
                    d_key_j = s.fma(weighted, s.read(chunk.query.row(i), at, 0.0), d_key_j);
                }
                s.write(d_key.row_mut(j), at, d_key_j);
            }
            for (i, &gradient) in block.clone().zip(&d_queries) {
                let row = d_query.row_mut(i);
                s.write(row, at, s.add(s.read(row, at, 0.0), gradient));
            }
        }
    }
}

impl ChunkDecay for ChannelDecay {
    #[inline(always)]
    fn read<S: Simd>(&mut self, s: S, decay: &Decay<'_>, place: &Place, key_dim: usize) {
        let Decay::Channel(view) = decay else { unreachable!("another decay has an implementation of its own") };
        self.factors.resize(CHUNK, key_dim);
        for (row, token) in place.tokens.clone().enumerate() {
            let (source, row) = (view.row(place.batch, place.head, token, key_dim), self.factors.row_mut(row));
            for at in (0..row.len()).step_by(LANES) {
                s.write(row, at, s.exp(s.read(source, at, 0.0)));
            }
        }
        let tokens = place.tokens.len();
        self.factors.clear(tokens..tokens.next_multiple_of(LANES));
        self.multiply_factors(s, tokens, key_dim);
    }

    #[inline(always)]
    fn meet_state<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        let Self { from_start, to_end, before, after, queries, keys, .. } = self;
        let Chunk { tokens, query, key, query_in, key_out, carry, .. } = chunk;
        [&mut *queries, &mut *keys].into_iter().for_each(|rows| rows.resize(CHUNK, from_start.stride));
        multiply_rows(s, 0..*tokens, query, from_start, queries);
        multiply_rows(s, 0..*tokens, key, to_end, keys);
        for block in blocks(0..*tokens) {
            let number = block.start / BLOCK;
            weigh_rows(s, block.clone(), queries, before.row(number), query_in);
            weigh_rows(s, block, keys, after.row(number), key_out);
        }
        let last = (*tokens - 1) / BLOCK;
        for at in (0..carry.len()).step_by(LANES) {
            let (whole, part) = (s.read(before.row(last), at, 0.0), s.read(from_start.row(*tokens - 1), at, 0.0));
            s.write(carry, at, shrink(s, whole, part));
        }
    }

    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        for block in blocks(0..chunk.tokens) {
            self.weigh_block(s, block.start, chunk);
        }
        // The keys of all blocks but the last, as they leave their own.
        self.transposed.transpose_of(s, &self.keys, 0..(chunk.tokens - 1) / BLOCK * BLOCK);
        for block in blocks(BLOCK..chunk.tokens) {
            let size = Size { rows: block.len(), vectors: block.start / LANES, steps: chunk.key_dim };
            let out = &mut chunk.weights.values_mut()[block.start * CHUNK..];
            let (queries, keys) = (self.queries.factors(block.start), self.transposed.vectors_from(0));
            multiply(s, size, queries, keys, Start::Zero, out, CHUNK);
            if block.end < chunk.tokens {
                for channel in 0..chunk.key_dim {
                    let factor = s.splat(self.from_start.row(block.end - 1)[channel]);
                    let earlier = &mut self.transposed.row_mut(channel)[..block.start];
                    for at in (0..earlier.len()).step_by(LANES) {
                        s.write(earlier, at, shrink(s, s.read(earlier, at, 0.0), factor));
                    }
                }
            }
        }
        clear_above(s, chunk.tokens, &mut chunk.weights);
    }

    #[inline(always)]
    fn meet<'a, S: Simd>(&mut self, s: S, chunk: &'a mut Chunk) -> Met<'a> {
        self.meet_state(s, chunk);
        self.weigh(s, chunk);
        let &mut Chunk { tokens, key_dim, ref query_in, ref key_out, ref carry, ref value, ref weights, .. } = chunk;
        Met { tokens, key_dim, query: query_in, reach: [1.0; CHUNK], key: key_out, carry, value, weights }
    }

    #[inline(always)]
    fn scale_as_met<S: Simd>(&self, s: S, tokens: usize, query: &mut Rows, key: &mut Rows) {
        for block in blocks(0..tokens) {
            let number = block.start / BLOCK;
            weigh_twice(s, block.clone(), &self.from_start, self.before.row(number), query);
            weigh_twice(s, block, &self.to_end, self.after.row(number), key);
        }
    }

    #[inline(always)]
    fn differentiate<S: Simd>(
        &mut self,
        s: S,
        chunk: &Chunk,
        d_weights: &mut Rows,
        d_query: &mut Rows,
        d_key: &mut Rows,
    ) {
        for block in blocks(0..chunk.tokens) {
            self.differentiate_block(s, block, chunk, d_weights, d_query, d_key);
        }
        let Self { from_start, to_end, queries, keys, d_scaled, .. } = self;
        let (vectors, stride) = (keys.vectors(), keys.stride);
        d_scaled.resize(CHUNK, stride);
        // Keys go on through block after block.
        for block in blocks(BLOCK..chunk.tokens) {
            let size = Size { rows: block.len(), vectors, steps: block.start };
            let a = d_weights.factors(block.start);
            let out = &mut d_scaled.values_mut()[block.start * stride..];
            multiply(s, size, a, keys.vectors_from(0), Start::Zero, out, stride);
            if block.end < chunk.tokens {
                shrink_rows(s, 0..block.start, from_start.row(block.end - 1), keys);
            }
        }
        add_weighted(s, BLOCK.min(chunk.tokens)..chunk.tokens, d_scaled, from_start, d_query);
        // Their gradients come back from the last block to the first.
        for block in blocks(BLOCK..chunk.tokens).rev() {
            let size = Size { rows: block.start, vectors, steps: block.len() };
            let data = &d_weights.values()[block.start * CHUNK..];
            let a = Factors { data, row_stride: 1, step_stride: CHUNK };
            let start = if block.end < chunk.tokens { Start::Keep } else { Start::Zero };
            if block.end < chunk.tokens {
                shrink_rows(s, 0..block.start, from_start.row(block.end - 1), d_scaled);
            }
            multiply(s, size, a, queries.vectors_from(block.start), start, d_scaled.values_mut(), stride);
        }
        add_weighted(s, 0..(chunk.tokens - 1) / BLOCK * BLOCK, d_scaled, to_end, d_key);
    }
}

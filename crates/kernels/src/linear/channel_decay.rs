//! A factor for each channel of a key: `W_ij = Σ_f q_if k_jf Π_{j < t ≤ i} a_tf`.
//!
//! The weights are cut in two levels. A block of tokens with its own [`SUB`] tokens is summed as the equation says. Between an
//! earlier and a later half of tokens, the weight splits at the first token `m` of the later one,
//! `Π_{j < t ≤ i} a_t = Π_{j < t < m} a_t · Π_{m ≤ t ≤ i} a_t`: one part belongs to the key and one to the query, so it is a
//! product of matrices. Both parts are at most 1, which parts relative to any other token would not be.

use std::ops::Range;

use super::CHUNK;
use super::chunk::Chunk;
use super::decay::{ChunkDecay, Met, SMALLEST};
use super::inputs::Decay;
use super::product::multiply;
use super::rows::Rows;
use super::stream::Place;
use super::triangle::{clear_above, columns_from};
use crate::product::{Factors, Size, Start};
use crate::simd::{LANES, Simd};

/// Tokens whose weights among each other are summed channel by channel.
const SUB: usize = LANES;

/// The factors of a chunk, and room for queries and keys of two halves.
#[derive(Default)]
pub(super) struct ChannelDecay {
    /// `[CHUNK, key_dim]`
    factors: Rows,
    /// `Π_{t ≤ i} a_t`, and `Π_{t > j} a_t`.
    from_start: Rows,
    to_end: Rows,
    /// Queries of the later and keys of the earlier half, times their parts of the weights.
    scaled: Rows,
    /// These parts.
    parts: Rows,
    transposed: Rows,
    /// Gradients of scaled queries or keys.
    d_scaled: Rows,
}

/// An earlier and a later half of tokens.
struct Halves {
    start: usize,
    middle: usize,
    end: usize,
}

/// All pairs of halves of a chunk: 16 tokens and 16, then 32 and 32.
fn halves(tokens: usize) -> impl Iterator<Item = Halves> {
    [SUB, 2 * SUB].into_iter().flat_map(move |half| {
        let starts = (0..tokens).step_by(2 * half).filter(move |start| start + half < tokens);
        starts.map(move |start| Halves { start, middle: start + half, end: (start + 2 * half).min(tokens) })
    })
}

const _: () = assert!(CHUNK == 4 * SUB, "two levels of halves cover a chunk");

/// `weight · factor`, or zero if that is too small.
#[inline(always)]
fn shrink<S: Simd>(s: S, weight: S::F, factor: S::F) -> S::F {
    let weight = s.mul(weight, factor);
    s.select_less(weight, s.splat(SMALLEST), s.zero(), weight)
}

/// `weights_i = Π_{first ≤ t ≤ i} a_t` for some tokens.
#[inline(always)]
fn products_from_start<S: Simd>(s: S, factors: &Rows, tokens: Range<usize>, weights: &mut Rows) {
    for at in (0..factors.stride).step_by(LANES) {
        let mut weight = s.splat(1.0);
        for token in tokens.clone() {
            weight = shrink(s, weight, s.read(factors.row(token), at, 1.0));
            s.write(weights.row_mut(token), at, weight);
        }
    }
}

/// `weights_j = Π_{j < t < end} a_t` for some tokens.
#[inline(always)]
fn products_to_end<S: Simd>(s: S, factors: &Rows, tokens: Range<usize>, weights: &mut Rows) {
    for at in (0..factors.stride).step_by(LANES) {
        let mut weight = s.splat(1.0);
        for token in tokens.clone().rev() {
            s.write(weights.row_mut(token), at, weight);
            weight = shrink(s, weight, s.read(factors.row(token), at, 1.0));
        }
    }
}

/// `out = a ⊙ b` for some tokens.
#[inline(always)]
fn multiply_rows<S: Simd>(s: S, tokens: Range<usize>, a: &Rows, b: &Rows, out: &mut Rows) {
    let (elements, stride) = (tokens.start * a.stride..tokens.end * a.stride, a.stride);
    assert!(b.stride == stride && out.stride == stride, "rows of one width");
    for at in elements.step_by(LANES) {
        s.write(out.values_mut(), at, s.mul(s.read(a.values(), at, 0.0), s.read(b.values(), at, 0.0)));
    }
}

/// `rows *= weights` for the first tokens.
#[inline(always)]
fn scale_rows<S: Simd>(s: S, tokens: usize, weights: &Rows, rows: &mut Rows) {
    for at in (0..tokens * rows.stride).step_by(LANES) {
        let scaled = s.mul(s.read(rows.values(), at, 0.0), s.read(weights.values(), at, 0.0));
        s.write(rows.values_mut(), at, scaled);
    }
}

impl ChannelDecay {
    /// Sets `parts`, and `scaled` to the later queries and earlier keys times them.
    #[inline(always)]
    fn split<S: Simd>(&mut self, s: S, halves: &Halves, query: &Rows, key: &Rows) {
        let Self { factors, scaled, parts, .. } = self;
        let Halves { start, middle, end } = *halves;
        [&mut *scaled, &mut *parts].into_iter().for_each(|rows| rows.resize(CHUNK, factors.stride));
        products_from_start(s, factors, middle..end, parts);
        products_to_end(s, factors, start..middle, parts);
        multiply_rows(s, middle..end, query, parts, scaled);
        multiply_rows(s, start..middle, key, parts, scaled);
    }

    /// The weights of the tokens of a block among each other; what is above the diagonal is unspecified.
    #[inline(always)]
    fn weigh_block<S: Simd>(&self, s: S, first: usize, chunk: &mut Chunk) {
        let mut sums = [s.zero(); SUB];
        let columns = columns_from(s, 0);
        for channel in 0..chunk.key_dim {
            // Lane `j` holds the key of token `j`, as far as it has decayed at token `i`.
            let keys = s.read(chunk.transposed.row(channel), first, 0.0);
            let mut decayed = keys;
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = (first + i) * self.factors.stride + channel;
                let factor = s.splat(self.factors.values()[at]);
                decayed = s.select_less(columns, s.splat(i as f32), s.mul(decayed, factor), keys);
                *sum = s.fma(s.splat(chunk.query.values()[at]), decayed, *sum);
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            s.write(chunk.weights.row_mut(first + i), first, sum);
        }
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
            let mut d_queries = [s.zero(); SUB];
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
        [&mut self.from_start, &mut self.to_end].into_iter().for_each(|rows| rows.resize(CHUNK, key_dim));
        products_from_start(s, &self.factors, 0..tokens, &mut self.from_start);
        products_to_end(s, &self.factors, 0..tokens, &mut self.to_end);
    }

    #[inline(always)]
    fn meet_state<S: Simd>(&self, s: S, chunk: &mut Chunk) {
        let Chunk { tokens, query, key, query_in, key_out, carry, .. } = chunk;
        multiply_rows(s, 0..*tokens, query, &self.from_start, query_in);
        multiply_rows(s, 0..*tokens, key, &self.to_end, key_out);
        carry.copy_from_slice(self.from_start.row(*tokens - 1));
    }

    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        chunk.transposed.transpose_of(s, &chunk.key, 0..chunk.tokens);
        for first in (0..chunk.tokens).step_by(SUB) {
            self.weigh_block(s, first, chunk);
        }
        for halves in halves(chunk.tokens) {
            let Halves { start, middle, end } = halves;
            self.split(s, &halves, &chunk.query, &chunk.key);
            self.transposed.transpose_of(s, &self.scaled, start..middle);
            let size = Size { rows: end - middle, vectors: (middle - start) / LANES, steps: chunk.key_dim };
            let out = &mut chunk.weights.values_mut()[middle * CHUNK + start..];
            multiply(s, size, self.scaled.factors(middle), self.transposed.vectors_from(0), Start::Zero, out, CHUNK);
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
        scale_rows(s, tokens, &self.from_start, query);
        scale_rows(s, tokens, &self.to_end, key);
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
        for first in (0..chunk.tokens).step_by(SUB) {
            let block = first..(first + SUB).min(chunk.tokens);
            self.differentiate_block(s, block, chunk, d_weights, d_query, d_key);
        }
        for halves in halves(chunk.tokens) {
            let Halves { start, middle, end } = halves;
            self.split(s, &halves, &chunk.query, &chunk.key);
            let (vectors, stride) = (self.scaled.vectors(), self.scaled.stride);
            self.d_scaled.resize(CHUNK, stride);
            let weights = &d_weights.values()[middle * CHUNK + start..];

            let size = Size { rows: end - middle, vectors, steps: middle - start };
            let a = Factors { data: weights, row_stride: CHUNK, step_stride: 1 };
            let out = &mut self.d_scaled.values_mut()[middle * stride..];
            multiply(s, size, a, self.scaled.vectors_from(start), Start::Zero, out, stride);

            let size = Size { rows: middle - start, vectors, steps: end - middle };
            let a = Factors { data: weights, row_stride: 1, step_stride: CHUNK };
            let out = &mut self.d_scaled.values_mut()[start * stride..];
            multiply(s, size, a, self.scaled.vectors_from(middle), Start::Zero, out, stride);

            add_parts(s, middle..end, &self.d_scaled, &self.parts, d_query);
            add_parts(s, start..middle, &self.d_scaled, &self.parts, d_key);
        }
    }
}

/// `rows += gradients ⊙ parts` for some tokens.
#[inline(always)]
fn add_parts<S: Simd>(s: S, tokens: Range<usize>, gradients: &Rows, parts: &Rows, rows: &mut Rows) {
    for token in tokens {
        let row = rows.row_mut(token);
        for at in (0..row.len()).step_by(LANES) {
            let (gradient, part) = (s.read(gradients.row(token), at, 0.0), s.read(parts.row(token), at, 0.0));
            s.write(row, at, s.fma(gradient, part, s.read(row, at, 0.0)));
        }
    }
}

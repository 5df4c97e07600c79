//! One factor for all channels of a key, or none: a chunk's weights are `(Q Kᵀ) ⊙ D` with `D_ij = Π_{j < t ≤ i} a_t`.

use super::CHUNK;
use super::chunk::Chunk;
use super::decay::{ChunkDecay, Met, SMALLEST};
use super::inputs::Decay;
use super::rows::Rows;
use super::stream::Place;
use super::triangle::{add_earlier, add_later, clear_above, columns_from, products};
use crate::simd::{LANES, Simd};

/// The factors of a chunk.
pub(super) struct ScalarDecay {
    factors: [f32; CHUNK],
    /// Whether there is a decay at all.
    decays: bool,
}

impl Default for ScalarDecay {
    fn default() -> Self {
        Self { factors: [1.0; CHUNK], decays: false }
    }
}

impl ScalarDecay {
    /// Multiplies the weights by `D`, which makes them zero above the diagonal.
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, tokens: usize, weights: &mut Rows) {
        const VECTORS: usize = CHUNK / LANES;
        if !self.decays {
            return clear_above(s, tokens, weights);
        }
        let mut decays = [s.zero(); VECTORS];
        for (token, &factor) in self.factors[..tokens].iter().enumerate() {
            let (token, factor) = (token as f32, s.splat(factor));
            for (vector, decay) in decays.iter_mut().enumerate() {
                let (columns, row) = (columns_from(s, vector * LANES), weights.row_mut(token as usize));
                let earlier = s.mul(*decay, factor);
                let earlier = s.select_less(earlier, s.splat(SMALLEST), s.zero(), earlier);
                *decay = s.select_less(columns, s.splat(token), earlier, s.splat(1.0));
                let weight = s.mul(s.read(row, vector * LANES, 0.0), *decay);
                s.write(row, vector * LANES, s.select_less(columns, s.splat(token + 1.0), weight, s.zero()));
            }
        }
    }

    /// `Π_{t ≤ i} a_t` for each token `i`.
    fn weights_from_start(&self, tokens: usize) -> [f32; CHUNK] {
        let mut weight = 1.0;
        let mut weights = [1.0; CHUNK];
        for (out, factor) in weights.iter_mut().zip(&self.factors[..tokens]) {
            weight = normal(weight * factor);
            *out = weight;
        }
        weights
    }

    /// `Π_{t > j} a_t` for each token `j`.
    fn weights_to_end(&self, tokens: usize) -> [f32; CHUNK] {
        let mut weight = 1.0;
        let mut weights = [1.0; CHUNK];
        for (out, factor) in weights.iter_mut().zip(&self.factors[..tokens]).rev() {
            *out = weight;
            weight = normal(weight * factor);
        }
        weights
    }
}

/// Zero for what is too small.
fn normal(weight: f32) -> f32 {
    if weight < SMALLEST { 0.0 } else { weight }
}

/// Multiplies each row by its factor.
#[inline(always)]
fn scale_rows<S: Simd>(s: S, factors: &[f32], rows: &mut Rows) {
    for (row, &factor) in factors.iter().enumerate() {
        let row = rows.row_mut(row);
        for at in (0..row.len()).step_by(LANES) {
            s.write(row, at, s.mul(s.read(row, at, 0.0), s.splat(factor)));
        }
    }
}

impl ChunkDecay for ScalarDecay {
    #[inline(always)]
    fn read<S: Simd>(&mut self, _: S, decay: &Decay<'_>, place: &Place, _: usize) {
        self.decays = !matches!(decay, Decay::None);
        match decay {
            Decay::None => self.factors.fill(1.0),
            Decay::Head(decays) => self.factors.fill(decays[place.head].exp()),
            Decay::Token(view) => {
                for (factor, token) in self.factors.iter_mut().zip(place.tokens.clone()) {
                    *factor = view.row(place.batch, place.head, token, 1)[0].exp();
                }
            }
            Decay::Channel(_) => unreachable!("a decay of each channel has an implementation of its own"),
        }
    }

    #[inline(always)]
    fn meet_state<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        let (from_start, to_end) = (self.weights_from_start(chunk.tokens), self.weights_to_end(chunk.tokens));
        for token in 0..chunk.tokens {
            chunk.query_in.set(s, token, chunk.query.row(token), from_start[token]);
            chunk.key_out.set(s, token, chunk.key.row(token), to_end[token]);
        }
        chunk.carry.fill(from_start[chunk.tokens - 1]);
    }

    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        chunk.transposed.transpose_of(s, &chunk.key, 0..chunk.tokens);
        products(s, chunk.tokens, chunk.key_dim, &chunk.query, &chunk.transposed, &mut chunk.weights);
        self.apply(s, chunk.tokens, &mut chunk.weights);
    }

    #[inline(always)]
    fn meet<'a, S: Simd>(&mut self, s: S, chunk: &'a mut Chunk) -> Met<'a> {
        self.weigh(s, chunk);
        let Chunk { tokens, key_dim, query, key, carry, value, weights, .. } = chunk;
        // A query's factor is one of its whole row, so the outputs can have it.
        let reach = self.weights_from_start(*tokens);
        carry.fill(reach[*tokens - 1]);
        if self.decays {
            scale_rows(s, &self.weights_to_end(*tokens)[..*tokens], key);
        }
        Met { tokens: *tokens, key_dim: *key_dim, query, reach, key, carry, value, weights }
    }

    #[inline(always)]
    fn scale_as_met<S: Simd>(&self, s: S, tokens: usize, query: &mut Rows, key: &mut Rows) {
        if self.decays {
            scale_rows(s, &self.weights_from_start(tokens)[..tokens], query);
            scale_rows(s, &self.weights_to_end(tokens)[..tokens], key);
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
        self.apply(s, chunk.tokens, d_weights);
        add_earlier(s, chunk.tokens, d_weights, &chunk.key, None, d_query);
        add_later(s, chunk.tokens, d_weights, &chunk.query, d_key);
    }
}

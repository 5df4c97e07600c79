//! Tokens of several sequences one after the other: the recurrence itself, from states that the caller keeps.
//!
//! A few channels of a state stay in registers while the tokens of a block pass by. The bits depend on nothing but the tokens before, which
//! those of [chunks](super::forward()) do not: they depend on where chunks begin.

use std::cell::RefCell;
use std::ops::Range;

use super::CHUNK;
use super::forward::EPSILON;
use super::inputs::{Decay, Dims, Inputs, Recurrence};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Elements of states, each once for every token, that make a part of their own worthwhile.
const PART: usize = 1 << 15;

/// Channels of a state that stay in registers, and vectors of each.
const CHANNELS: usize = 4;
const VECTORS: usize = 2;

/// Takes the tokens of every sequence into its own one of `states`, each `[heads, key_dim, columns]`, and writes
/// `out [batch, tokens, heads, value_dim]`. The sequences are those of the first row of the batch, then those of the next; the states
/// of `inputs` are not read.
///
/// The bits of a token depend neither on other sequences nor on where its own is cut into calls.
///
/// # Panics
/// If a slice has not the length that `dims` states, or there is not a state for each sequence.
pub fn steps(spec: &Recurrence, dims: &Dims, inputs: &Inputs<'_>, states: &mut [&mut [f32]], out: &mut [f32]) {
    let inputs = Inputs { state: None, ..*inputs };
    inputs.check(spec, dims);
    assert_eq!(out.len(), dims.output(), "elements of the output");
    assert_eq!(states.len(), dims.batch * inputs.sequences(), "a state for each sequence");
    let elements = dims.heads * dims.state(spec);
    assert!(states.iter().all(|state| state.len() == elements), "{elements} elements of each state");
    let _span = profile::span("linear recurrence, steps").work(|| {
        let all = (elements * dims.batch * dims.tokens) as f64;
        let bytes = 2 * size_of::<f32>() * elements * states.len();
        Work { flops: 5.0 * all, bytes: bytes as f64 }
    });
    let heads = states.len() * dims.heads;
    let tokens = (dims.batch * dims.tokens).div_ceil(states.len().max(1));
    let together = (PART / (tokens * dims.state(spec)).max(1)).max(1);
    let states: Vec<Disjoint<'_, f32>> = states.iter_mut().map(|state| Disjoint::new(state)).collect();
    let out = Disjoint::new(out);
    parallel::parts(heads.div_ceil(together), |part| {
        for stream in part * together..((part + 1) * together).min(heads) {
            let (sequence, head) = (stream / dims.heads, stream % dims.heads);
            let batch = sequence / inputs.sequences();
            let ends = &inputs.offsets[sequence % inputs.sequences()..][..2];
            let length = dims.state(spec);
            // SAFETY: a stream owns the state of its head, inside a slice whose length was checked above.
            let state = unsafe { states[sequence].range(head * length, length) };
            let place = Place { batch, head, tokens: ends[0]..ends[1] };
            ROOM.with_borrow_mut(|room| {
                dispatch(Stream { spec, dims, inputs: &inputs, place, state, out: &out, room })
            });
        }
    });
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The factors of a block of tokens, `[tokens, key_dim]` each, and what they give.
#[derive(Default)]
struct Room {
    query: Vec<f32>,
    key: Vec<f32>,
    decay: Vec<f32>,
    /// Values and outputs, `[tokens, whole vectors]`.
    value: Vec<f32>,
    out: Vec<f32>,
    /// Sums of keys, where outputs are normalised.
    sums: Vec<f32>,
    divisors: Vec<f32>,
}

/// The tokens of a head of a sequence.
struct Place {
    batch: usize,
    head: usize,
    tokens: Range<usize>,
}

/// Elements of a row of values, in whole vectors.
fn stride(dims: &Dims) -> usize {
    dims.value_dim.next_multiple_of(LANES)
}

/// One head of one sequence.
struct Stream<'a> {
    spec: &'a Recurrence,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    place: Place,
    state: &'a mut [f32],
    out: &'a Disjoint<'a, f32>,
    room: &'a mut Room,
}

impl Kernel for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let all = self.place.tokens.clone();
        for start in all.clone().step_by(CHUNK) {
            self.place.tokens = start..all.end.min(start + CHUNK);
            self.read(s);
            if self.spec.normalise {
                self.divide_by_sums(s);
            }
            let mut channel = 0;
            while channel + CHANNELS <= self.dims.key_dim {
                self.advance::<S, CHANNELS>(s, channel);
                channel += CHANNELS;
            }
            while channel < self.dims.key_dim {
                self.advance::<S, 1>(s, channel);
                channel += 1;
            }
            self.write(s);
        }
    }
}

impl Stream<'_> {
    /// Fills the room with what the tokens of the block bring.
    #[inline(always)]
    fn read<S: Simd>(&mut self, s: S) {
        let Self { spec, dims, inputs, place, room, .. } = self;
        let (batch, head, width) = (place.batch, place.head, dims.key_dim);
        let count = place.tokens.len() * width;
        [&mut room.query, &mut room.key, &mut room.decay].into_iter().for_each(|values| values.resize(count, 0.0));
        for rows in [&mut room.value, &mut room.out] {
            rows.clear();
            rows.resize(place.tokens.len() * stride(dims), 0.0);
        }
        for (row, token) in place.tokens.clone().enumerate() {
            let [query, key, decay] =
                [&mut room.query, &mut room.key, &mut room.decay].map(|values| &mut values[row * width..][..width]);
            key.copy_from_slice(inputs.key.row(batch, head, token, width));
            let value = inputs.value.row(batch, head, token, dims.value_dim);
            room.value[row * stride(dims)..][..dims.value_dim].copy_from_slice(value);
            let of_query = inputs.query.row(batch, head, token, width);
            let channels = match &inputs.decay {
                Decay::Channel(view) => view.row(batch, head, token, width),
                _ => &[][..],
            };
            let alike = match &inputs.decay {
                Decay::Head(decays) => s.splat(decays[head]),
                Decay::Token(view) => s.splat(view.row(batch, head, token, 1)[0]),
                Decay::None | Decay::Channel(_) => s.zero(),
            };
            let alike = s.exp(alike);
            for at in (0..width).step_by(LANES) {
                s.write(query, at, s.mul(s.read(of_query, at, 0.0), s.splat(spec.scale)));
                let factor = if channels.is_empty() { alike } else { s.exp(s.read(channels, at, 0.0)) };
                s.write(decay, at, factor);
            }
        }
    }

    /// Moves the sums of keys, the last column of the state, over the block; keeps each token's `q · Σ k + ε`.
    #[inline(always)]
    fn divide_by_sums<S: Simd>(&mut self, s: S) {
        let Self { dims, place, state, room, .. } = self;
        let Room { query, key, decay, sums, divisors, .. } = &mut **room;
        let (width, columns) = (dims.key_dim, dims.value_dim + 1);
        sums.clear();
        sums.extend(state.iter().skip(dims.value_dim).step_by(columns));
        divisors.clear();
        for row in 0..place.tokens.len() {
            let [query, key, decay] = [&*query, key, decay].map(|values| &values[row * width..][..width]);
            let mut total = s.zero();
            for at in (0..width).step_by(LANES) {
                let sum = s.fma(s.read(sums, at, 0.0), s.read(decay, at, 0.0), s.read(key, at, 0.0));
                s.write(sums, at, sum);
                total = s.fma(s.read(query, at, 0.0), sum, total);
            }
            divisors.push(s.sum(total) + EPSILON);
        }
        state.iter_mut().skip(dims.value_dim).step_by(columns).zip(sums).for_each(|(to, sum)| *to = *sum);
    }

    /// Moves `C` channels of the state from `channel` on over the block.
    #[inline(always)]
    fn advance<S: Simd, const C: usize>(&mut self, s: S, channel: usize) {
        let mut at = 0;
        while at + VECTORS * LANES <= self.dims.value_dim {
            self.advance_vectors::<S, C, VECTORS>(s, channel, at);
            at += VECTORS * LANES;
        }
        while at < self.dims.value_dim {
            self.advance_vectors::<S, C, 1>(s, channel, at);
            at += LANES;
        }
    }

    /// `S ← a S + k vᵀ` and `o += q S` in `V` vectors of columns from `at` on.
    #[inline(always)]
    fn advance_vectors<S: Simd, const C: usize, const V: usize>(&mut self, s: S, channel: usize, at: usize) {
        let Self { spec, dims, state, room, .. } = self;
        let (columns, width, stride) = (dims.columns(spec), dims.key_dim, stride(dims));
        let mut held = [[s.zero(); C]; V];
        for (v, held) in held.iter_mut().enumerate() {
            for (c, held) in held.iter_mut().enumerate() {
                let row = &state[(channel + c) * columns..][..dims.value_dim];
                *held = s.read(row, at + v * LANES, 0.0);
            }
        }
        let Room { query, key, decay, value, out, .. } = &mut **room;
        let factors = query.chunks_exact(width).zip(key.chunks_exact(width)).zip(decay.chunks_exact(width));
        let rows = value.chunks_exact(stride).zip(out.chunks_exact_mut(stride));
        for (((query, key), decay), (value, out)) in factors.zip(rows) {
            // Slices of a length that is known here, so that nothing below is checked for every vector.
            let [query, key, decay]: [&[f32; C]; 3] = [query, key, decay].map(
                #[inline(always)]
                |factors| factors[channel..channel + C].try_into().expect("as many channels"),
            );
            let (value, out) = (&value[at..at + V * LANES], &mut out[at..at + V * LANES]);
            for (v, held) in held.iter_mut().enumerate() {
                let (value, mut total) = (s.read(value, v * LANES, 0.0), s.read(out, v * LANES, 0.0));
                for (((held, query), key), decay) in held.iter_mut().zip(query).zip(key).zip(decay) {
                    *held = s.fma(s.splat(*key), value, s.mul(*held, s.splat(*decay)));
                    total = s.fma(s.splat(*query), *held, total);
                }
                s.write(out, v * LANES, total);
            }
        }
        for (v, held) in held.into_iter().enumerate() {
            for (c, held) in held.into_iter().enumerate() {
                let row = &mut state[(channel + c) * columns..][..dims.value_dim];
                s.write(row, at + v * LANES, held);
            }
        }
    }

    /// Writes what the block gives.
    #[inline(always)]
    fn write<S: Simd>(&self, s: S) {
        let Self { spec, dims, place, out, room, .. } = self;
        let stride = stride(dims);
        for (row, token) in place.tokens.clone().enumerate() {
            let start = ((place.batch * dims.tokens + token) * dims.heads + place.head) * dims.value_dim;
            // SAFETY: a row of a head belongs to its stream; `steps` has checked that it exists.
            let to = unsafe { out.range(start, dims.value_dim) };
            for at in (0..dims.value_dim).step_by(LANES) {
                let value = s.read(&room.out[row * stride..][..stride], at, 0.0);
                let divided = if spec.normalise { s.div(value, s.splat(room.divisors[row])) } else { value };
                s.write(to, at, divided);
            }
        }
    }
}

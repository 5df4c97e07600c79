//! Outputs and states, chunk after chunk.
//!
//! With the weights `W` of a chunk and the state `S` before it: `O = W V + Q_in S`, `S ← diag(carry) S + K_outᵀ V`. Outputs are
//! normalised by `rowsum W + Q_in z` with the sums of keys `z ← carry ⊙ z + Σ K_out`, a column of the state that is a vector here:
//! a vector of columns more would cost a quarter more with 64 of them.

use std::cell::RefCell;
use std::ops::Range;

use super::CHUNK;
use super::chunk::{Chunk, ask_for, read_state};
use super::decay::{ChunkDecay, Met};
use super::inputs::{Dims, Inputs, Recurrence};
use super::pass::{self, Pass, Scratch};
use super::product::multiply;
use super::rows::Rows;
use super::stream::{Layout, Stream, Streams};
use super::triangle::add_earlier;
use super::work;
use crate::attention::View4;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::product::{Size, Start};
use crate::profile;
use crate::simd::slices::sums;
use crate::simd::{LANES, Simd};

/// Added to the divisor of normalised outputs.
pub(super) const EPSILON: f32 = 1e-10;

/// Writes `out [batch, tokens, heads, value_dim]` and the last states `[batch, sequences, heads, key_dim, columns]`.
///
/// For a gradient, `chunk_states` `[batch, heads, chunks, key_dim, columns]` receives the states at the starts of all chunks.
///
/// # Panics
/// If a slice has not the length that `dims` states, or the offsets do not ascend from 0 to the number of tokens.
pub fn forward(
    spec: &Recurrence,
    dims: &Dims,
    inputs: &Inputs<'_>,
    out: &mut [f32],
    states: &mut [f32],
    chunk_states: Option<&mut [f32]>,
) {
    inputs.check(spec, dims);
    assert_eq!(out.len(), dims.output(), "elements of the output");
    assert_eq!(states.len(), inputs.states(spec, dims), "elements of the states");
    let saved = chunk_states.as_ref().map_or(inputs.chunk_states(spec, dims), |states| states.len());
    assert_eq!(saved, inputs.chunk_states(spec, dims), "elements of the states of chunks");
    let _span = profile::span("linear recurrence, forward").work(|| work::of_outputs(dims, inputs));
    let streams = Streams::new(dims, inputs, columns_of_a_part(dims, inputs));
    let call = Call {
        spec,
        dims,
        inputs,
        layout: Layout::new(spec, dims, inputs),
        saves: chunk_states.is_some(),
        out: Disjoint::new(out),
        states: Disjoint::new(states),
        chunk_states: Disjoint::new(chunk_states.unwrap_or(&mut [])),
    };
    pass::run(&call, &inputs.decay, &streams, &SCRATCH);
}

/// All columns, unless there are fewer streams than workers: no element depends on the other columns.
fn columns_of_a_part(dims: &Dims, inputs: &Inputs<'_>) -> usize {
    let streams = dims.batch * inputs.sequences() * dims.heads;
    let blocks = parallel::threads().div_ceil(streams.max(1));
    dims.value_dim.div_ceil(blocks).next_multiple_of(LANES)
}

thread_local! {
    static SCRATCH: RefCell<Scratch<Room>> = RefCell::default();
}

#[derive(Default)]
struct Room {
    chunk: Chunk,
    state: Rows,
    /// The sums of keys, if outputs are normalised.
    sums: Vec<f32>,
    out: Rows,
}

struct Call<'a> {
    spec: &'a Recurrence,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    layout: Layout,
    /// Whether the states of chunks are wanted.
    saves: bool,
    /// A stream owns its columns of its tokens' rows, and of its states.
    out: Disjoint<'a, f32>,
    states: Disjoint<'a, f32>,
    chunk_states: Disjoint<'a, f32>,
}

impl Pass for Call<'_> {
    type Room = Room;

    #[inline(always)]
    fn run<S: Simd, D: ChunkDecay>(&self, s: S, stream: Stream, room: &mut Room, decay: &mut D) {
        let Self { spec, dims, inputs, layout, .. } = self;
        let Room { chunk, state, sums, out } = room;
        let columns = stream.columns.clone();
        let first = inputs.state.map(|states| &states[layout.of_sequence(&stream)..][..dims.state(spec)]);
        read_state(s, state, first, [dims.key_dim, layout.columns], columns.clone(), false);
        read_sums(sums, first.filter(|_| spec.normalise), [dims.key_dim, layout.columns]);
        let mut chunks = stream.chunks().peekable();
        while let Some((number, place)) = chunks.next() {
            if self.saves {
                self.write_state(&self.chunk_states, layout.of_chunk(&place, number), &columns, state, sums);
            }
            chunk.read(s, spec, dims, inputs, &place, columns.clone(), false);
            decay.read(s, &inputs.decay, &place, dims.key_dim);
            // In three parts, so that no product waits for all of them.
            let next = chunks.peek().map(|(_, next)| next);
            next.inspect(|next| ask_for(inputs.key, next, 0..dims.key_dim));
            let met = decay.meet(s, chunk);
            next.inspect(|next| ask_for(inputs.value, next, columns.clone()));
            read_out(s, &met, state, out);
            next.inspect(|next| ask_for(inputs.query, next, 0..dims.key_dim));
            advance(s, &met, state);
            for (row, token) in place.tokens.clone().enumerate() {
                let at = ((place.batch * dims.tokens + token) * dims.heads + place.head) * dims.value_dim;
                // SAFETY: these columns of the row belong to the stream; `forward` has checked that the row exists.
                let to = unsafe { self.out.range(at + columns.start, columns.len()) };
                let divisor = match spec.normalise {
                    true => divisor(s, [met.query.row(row), sums], met.reach[row], met.weights.row(row)),
                    false => 1.0,
                };
                write_row(s, out.row(row), divisor, to);
            }
            if spec.normalise {
                advance_sums(s, &met, sums);
            }
        }
        self.write_state(&self.states, layout.of_sequence(&stream), &columns, state, sums);
    }
}

/// `O = W V + Q_in S`
#[inline(always)]
fn read_out<S: Simd>(s: S, met: &Met<'_>, state: &Rows, out: &mut Rows) {
    out.resize(CHUNK, state.stride);
    let stride = out.stride;
    let size = Size { rows: met.tokens, vectors: state.vectors(), steps: met.key_dim };
    multiply(s, size, met.query.factors(0), state.vectors_from(0), Start::Zero, out.values_mut(), stride);
    add_earlier(s, met.tokens, met.weights, met.value, Some(&met.reach), out);
}

/// `S ← diag(carry) S + K_outᵀ V`
#[inline(always)]
fn advance<S: Simd>(s: S, met: &Met<'_>, state: &mut Rows) {
    let stride = state.stride;
    let size = Size { rows: met.key_dim, vectors: state.vectors(), steps: met.tokens };
    let (keys, values) = (met.key.factors_transposed(0), met.value.vectors_from(0));
    multiply(s, size, keys, values, Start::Scale(met.carry), state.values_mut(), stride);
}

/// Reads the last column of the state `from` `[key_dim, width]`; zeros if there is none.
#[inline(always)]
pub(super) fn read_sums(sums: &mut Vec<f32>, from: Option<&[f32]>, [key_dim, width]: [usize; 2]) {
    sums.clear();
    sums.extend(from.into_iter().flat_map(|from| from.iter().skip(width - 1).step_by(width)));
    sums.resize(key_dim.next_multiple_of(LANES), 0.0);
}

/// What an output is divided by: the sum of a token's weights on the tokens of its chunk, and of those before, `reach · query · sums`.
#[inline(always)]
pub(super) fn divisor<S: Simd>(s: S, query_and_sums: [&[f32]; 2], reach: f32, weights: &[f32]) -> f32 {
    let [earlier] = sums(
        s,
        query_and_sums,
        [0.0; 2],
        #[inline(always)]
        |[query, sum]| [s.mul(query, sum)],
    );
    let [inside] = sums(
        s,
        [weights],
        [0.0],
        #[inline(always)]
        |[weight]| [weight],
    );
    inside + reach * earlier + EPSILON
}

/// `z ← carry ⊙ z + Σ K_out`
#[inline(always)]
fn advance_sums<S: Simd>(s: S, met: &Met<'_>, sums: &mut [f32]) {
    for at in (0..sums.len()).step_by(LANES) {
        let mut sum = s.mul(s.read(sums, at, 0.0), s.read(met.carry, at, 0.0));
        for token in 0..met.tokens {
            sum = s.add(sum, s.read(met.key.row(token), at, 0.0));
        }
        s.write(sums, at, sum);
    }
}

/// Writes an output, divided by `divisor`.
#[inline(always)]
fn write_row<S: Simd>(s: S, row: &[f32], divisor: f32, to: &mut [f32]) {
    let factor = s.splat(1.0 / divisor);
    for at in (0..to.len()).step_by(LANES) {
        s.write(to, at, s.mul(s.read(row, at, 0.0), factor));
    }
}

impl Call<'_> {
    /// Writes the columns of a stream to the state that starts at `at`; with the last ones, the sums of keys.
    #[inline(always)]
    fn write_state(&self, to: &Disjoint<'_, f32>, at: usize, columns: &Range<usize>, state: &Rows, sums: &[f32]) {
        let last = columns.end == self.dims.value_dim;
        let count = if last { self.layout.columns - columns.start } else { columns.len() };
        for (row, &key_sum) in sums.iter().take(self.dims.key_dim).enumerate() {
            // SAFETY: these columns belong to the stream; `forward` has checked that the state exists.
            let to = unsafe { to.range(at + row * self.layout.columns + columns.start, count) };
            let (to, sum) = to.split_at_mut(columns.len());
            to.copy_from_slice(&state.row(row)[..to.len()]);
            sum.fill(key_sum);
        }
    }
}

/// The view of a contiguous tensor `[batch, tokens, heads, width]` as `[batch, heads, tokens, width]`.
pub(super) fn by_token<'a>(data: &'a [f32], dims: &Dims, width: usize) -> View4<'a> {
    View4 { data, strides: [dims.tokens * dims.heads * width, width, dims.heads * width] }
}

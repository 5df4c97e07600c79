//! Gradients, chunk after chunk from the last to the first.
//!
//! With `dS` the gradient of the state after a chunk and `X = dO Vᵀ` up to the diagonal, the gradient of the weights:
//! `dV = Wᵀ dO + K_out dS`, `dQ_in = dO Sᵀ`, `dK_out = V dSᵀ`, `dS ← diag(carry) dS + Q_inᵀ dO`. Queries and keys get what
//! reaches them through `Q_in`, `K_out` and `W`. A log-decay acts on all weights between an earlier key and a later query, and on
//! what leaves the chunk: its gradient is the sum of `q_i ⊙ dq_i - k_i ⊙ dk_i` over its own and later tokens of the chunk, plus
//! `rowsum(S_end ⊙ dS)` with the state after the chunk.

use std::cell::RefCell;

use super::CHUNK;
use super::channel_decay::ChannelDecay;
use super::chunk::{Chunk, read_rows, read_state};
use super::decay::ChunkDecay;
use super::forward::{EPSILON, by_token};
use super::inputs::{Decay, Dims, Inputs, Recurrence};
use super::product::multiply;
use super::rows::Rows;
use super::scalar_decay::ScalarDecay;
use super::stream::{Layout, Place, Stream, Streams};
use super::triangle::{add_later, clear_above, products};
use super::work;
use crate::attention::View4;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::product::{Size, Start};
use crate::profile;
use crate::simd::slices::sums;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// What the forward pass computed, and the gradients of the loss with respect to it.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The output of [`forward`](super::forward) `[batch, tokens, heads, value_dim]`; read only if outputs are normalised.
    pub out: &'a [f32],
    /// The states at the starts of all chunks, of [`forward`](super::forward).
    pub chunk_states: &'a [f32],
    /// `[batch, heads, tokens, value_dim]`.
    pub d_out: View4<'a>,
    /// Of the last states, if the loss uses them.
    pub d_states: Option<&'a [f32]>,
}

/// Gradients of the inputs, contiguous.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// `[batch, tokens, heads, key_dim]`.
    pub query: Vec<f32>,
    /// `[batch, tokens, heads, key_dim]`.
    pub key: Vec<f32>,
    /// `[batch, tokens, heads, value_dim]`.
    pub value: Vec<f32>,
    /// `[heads]`, `[batch, tokens, heads]` or `[batch, tokens, heads, key_dim]`; empty without a decay.
    pub decay: Vec<f32>,
    /// `[batch, sequences, heads, key_dim, columns]`, of the states that the sequences start from.
    pub state: Vec<f32>,
}

/// Computes the gradients.
///
/// # Panics
/// If a slice has not the length that `dims` states, or the offsets do not ascend from 0 to the number of tokens.
pub fn backward(spec: &Recurrence, dims: &Dims, inputs: &Inputs<'_>, upstream: &Upstream<'_>) -> Gradients {
    inputs.check(spec, dims);
    upstream.d_out.check("d_out", [dims.batch, dims.heads, dims.tokens], dims.value_dim);
    assert_eq!(upstream.chunk_states.len(), inputs.chunk_states(spec, dims), "elements of the states of chunks");
    let states = inputs.states(spec, dims);
    assert_eq!(upstream.d_states.map_or(states, <[f32]>::len), states, "elements of the last states' gradient");
    assert!(!spec.normalise || upstream.out.len() == dims.output(), "elements of the output");
    let _span = profile::span("linear recurrence, backward").work(|| work::of_gradients(dims, inputs));

    let streams = Streams::new(dims, inputs, columns_of_a_part(dims, inputs));
    let rows = dims.batch * dims.tokens * dims.heads;
    let width = match inputs.decay {
        Decay::Channel(_) => dims.key_dim,
        _ => 1,
    };
    let mut value = vec![0.0; rows * dims.value_dim];
    let mut state = vec![0.0; states];
    let [mut query, mut key] = [0, 1].map(|_| vec![0.0; streams.blocks() * rows * dims.key_dim]);
    let mut decay = vec![0.0; streams.blocks() * rows * width];
    let call = Call {
        spec,
        dims,
        inputs,
        upstream,
        layout: Layout::new(spec, dims, inputs),
        width,
        d_query: Disjoint::new(&mut query),
        d_key: Disjoint::new(&mut key),
        d_value: Disjoint::new(&mut value),
        d_decay: Disjoint::new(&mut decay),
        d_state: Disjoint::new(&mut state),
    };
    parallel::parts(streams.count(), |part| {
        let stream = streams.get(part);
        SCRATCH.with_borrow_mut(|Scratch { room, scalar, channel }| match inputs.decay {
            Decay::Channel(_) => dispatch(Run { call: &call, stream, room, decay: channel }),
            _ => dispatch(Run { call: &call, stream, room, decay: scalar }),
        });
    });
    let [query, key, decay] = [query, key, decay].map(|gradient| sum_blocks(gradient, streams.blocks()));
    Gradients { query, key, value, decay: sum_decay(inputs, dims, decay), state }
}

/// All columns, unless there are very few streams. The sums over columns must not depend on the number of workers.
fn columns_of_a_part(dims: &Dims, inputs: &Inputs<'_>) -> usize {
    /// As many streams keep the workers busy.
    const STREAMS: usize = 4;
    /// Fewer columns are not worth weights of their own.
    const COLUMNS: usize = 32;
    let blocks = STREAMS.div_ceil((dims.batch * inputs.sequences() * dims.heads).max(1));
    dims.value_dim.div_ceil(blocks).next_multiple_of(COLUMNS)
}

/// The sum over the first dimension, of `blocks` elements.
fn sum_blocks(mut gradients: Vec<f32>, blocks: usize) -> Vec<f32> {
    let length = gradients.len() / blocks;
    let (first, others) = gradients.split_at_mut(length);
    for other in others.chunks_exact(length.max(1)) {
        first.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
    }
    gradients.truncate(length);
    gradients
}

/// The gradient of the decay from those of each token.
fn sum_decay(inputs: &Inputs<'_>, dims: &Dims, per_token: Vec<f32>) -> Vec<f32> {
    match inputs.decay {
        Decay::None => Vec::new(),
        Decay::Head(_) => {
            let mut sums = vec![0.0; dims.heads];
            for token in per_token.chunks_exact(dims.heads.max(1)) {
                sums.iter_mut().zip(token).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            sums.into_iter().map(|sum| sum as f32).collect()
        }
        Decay::Token(_) | Decay::Channel(_) => per_token,
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Working memory of a worker, kept from call to call.
#[derive(Default)]
struct Scratch {
    room: Room,
    scalar: ScalarDecay,
    channel: ChannelDecay,
}

#[derive(Default)]
struct Room {
    chunk: Chunk,
    /// The state before the chunk, and the gradient of that after it.
    state: Rows,
    d_state: Rows,
    d_out: Rows,
    d_query: Rows,
    d_key: Rows,
    d_value: Rows,
    d_weights: Rows,
    transposed: Rows,
    /// `rowsum(S_end ⊙ dS)`
    d_end: Vec<f32>,
}

struct Call<'a> {
    spec: &'a Recurrence,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    upstream: &'a Upstream<'a>,
    layout: Layout,
    /// Gradients of the decay for each token.
    width: usize,
    /// A stream owns its tokens' rows of its block.
    d_query: Disjoint<'a, f32>,
    d_key: Disjoint<'a, f32>,
    d_decay: Disjoint<'a, f32>,
    /// A stream owns its columns of its tokens' rows, and of its state.
    d_value: Disjoint<'a, f32>,
    d_state: Disjoint<'a, f32>,
}

/// One stream on one worker.
struct Run<'a, D> {
    call: &'a Call<'a>,
    stream: Stream,
    room: &'a mut Room,
    decay: &'a mut D,
}

impl<D: ChunkDecay> Kernel for Run<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, stream, room, decay } = self;
        let Call { spec, dims, inputs, upstream, layout, .. } = call;
        let columns = stream.columns.clone();
        let last = upstream.d_states.map(|states| &states[layout.of_sequence(&stream)..][..dims.state(spec)]);
        read_state(s, &mut room.d_state, last, dims, columns.clone(), spec.normalise);
        if spec.normalise && stream.block > 0 {
            // The first block alone counts the normaliser's column.
            (0..dims.key_dim).for_each(|row| room.d_state.row_mut(row)[columns.len()] = 0.0);
        }
        for (number, place) in stream.chunks().rev() {
            let before = &upstream.chunk_states[layout.of_chunk(&place, number)..][..dims.state(spec)];
            read_state(s, &mut room.state, Some(before), dims, columns.clone(), spec.normalise);
            room.chunk.read(s, spec, dims, inputs, &place, columns.clone());
            decay.read(s, &inputs.decay, &place, dims.key_dim);
            decay.meet_state(s, &mut room.chunk);
            decay.weigh(s, &mut room.chunk);
            call.read_upstream(s, &stream, &place, room);
            room.through_state(s);
            let Room { chunk, d_query, d_key, d_end, .. } = room;
            decay.scale_as_met(s, chunk.tokens, d_query, d_key);
            for token in 0..chunk.tokens {
                add_product(s, chunk.key.row(token), d_key.row(token), d_end);
            }
            room.through_weights(s, decay);
            room.advance(s);
            call.write(s, &stream, &place, room);
        }
        call.write_state(&stream, &room.d_state);
    }
}

/// `sums += a ⊙ b`
#[inline(always)]
fn add_product<S: Simd>(s: S, a: &[f32], b: &[f32], sums: &mut [f32]) {
    for at in (0..a.len()).step_by(LANES) {
        s.write(sums, at, s.fma(s.read(a, at, 0.0), s.read(b, at, 0.0), s.read(sums, at, 0.0)));
    }
}

impl Room {
    /// What passes through the states: `dQ_in`, `dK_out`, the last part of `dV`, and `carry ⊙ rowsum(S ⊙ dS)`.
    #[inline(always)]
    fn through_state<S: Simd>(&mut self, s: S) {
        let Self { chunk, state, d_state, d_out, d_query, d_key, d_value, transposed, d_end, .. } = self;
        let (tokens, width, stride) = (chunk.tokens, state.stride, chunk.key.stride);
        [&mut *d_query, &mut *d_key].into_iter().for_each(|rows| rows.resize(CHUNK, stride));
        d_value.resize(CHUNK, width);
        let size = Size { rows: tokens, vectors: stride / LANES, steps: chunk.columns };
        transposed.transpose_of(s, state, 0..chunk.key_dim);
        multiply(s, size, d_out.factors(0), transposed.vectors_from(0), Start::Zero, d_query.values_mut(), stride);
        transposed.transpose_of(s, d_state, 0..chunk.key_dim);
        multiply(s, size, chunk.value.factors(0), transposed.vectors_from(0), Start::Zero, d_key.values_mut(), stride);
        let size = Size { rows: tokens, vectors: width / LANES, steps: chunk.key_dim };
        multiply(s, size, chunk.key_out.factors(0), d_state.vectors_from(0), Start::Zero, d_value.values_mut(), width);
        d_end.clear();
        d_end.resize(stride, 0.0);
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
    fn through_weights<S: Simd>(&mut self, s: S, decay: &mut impl ChunkDecay) {
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
    fn advance<S: Simd>(&mut self, s: S) {
        let Self { chunk, d_state, d_out, .. } = self;
        let stride = d_state.stride;
        let size = Size { rows: chunk.key_dim, vectors: d_state.vectors(), steps: chunk.tokens };
        let (queries, gradients) = (chunk.query_in.factors_transposed(0), d_out.vectors_from(0));
        multiply(s, size, queries, gradients, Start::Scale(&chunk.carry), d_state.values_mut(), stride);
    }
}

impl Call<'_> {
    /// Reads the gradients of the outputs. If these are normalised, `o = n / d`, the rows become those of `n`, and in the column of
    /// the normaliser `dd = -(do · o) / d`.
    #[inline(always)]
    fn read_upstream<S: Simd>(&self, s: S, stream: &Stream, place: &Place, room: &mut Room) {
        let (dims, columns) = (self.dims, stream.columns.clone());
        let Room { chunk, state, d_out, .. } = room;
        if !self.spec.normalise {
            return read_rows(s, d_out, self.upstream.d_out, place, columns, 1.0);
        }
        d_out.resize(CHUNK, columns.len() + 1);
        let out = by_token(self.upstream.out, dims, dims.value_dim);
        for (row, token) in place.tokens.clone().enumerate() {
            let earlier: f32 = chunk.weights.row(row)[..=row].iter().sum();
            let of_state =
                (0..dims.key_dim).map(|channel| chunk.query_in.row(row)[channel] * state.row(channel)[columns.len()]);
            let divisor = earlier + of_state.sum::<f32>() + EPSILON;
            let gradient = self.upstream.d_out.row(place.batch, place.head, token, dims.value_dim);
            let out = out.row(place.batch, place.head, token, dims.value_dim);
            d_out.set(s, row, &gradient[columns.clone()], 1.0 / divisor);
            let [sum] = sums(
                s,
                [gradient, out],
                [0.0; 2],
                #[inline(always)]
                |[a, b]| [s.mul(a, b)],
            );
            d_out.row_mut(row)[columns.len()] = if stream.block == 0 { -sum / divisor } else { 0.0 };
        }
        d_out.clear(place.tokens.len()..place.tokens.len().next_multiple_of(LANES));
    }

    /// Writes the gradients of the tokens of a chunk.
    #[inline(always)]
    fn write<S: Simd>(&self, s: S, stream: &Stream, place: &Place, room: &mut Room) {
        let Room { chunk, d_query, d_key, d_value, d_end, .. } = room;
        let (dims, columns) = (self.dims, &stream.columns);
        let (width, rows) = (dims.key_dim, dims.batch * dims.tokens * dims.heads);
        for (row, token) in place.tokens.clone().enumerate().rev() {
            let at = (place.batch * dims.tokens + token) * dims.heads + place.head;
            let of_block = stream.block * rows + at;
            // SAFETY: the rows and columns belong to the stream; `backward` has made room for all of them.
            let (to_query, to_key, to_value, to_decay) = unsafe {
                (
                    self.d_query.range(of_block * width, width),
                    self.d_key.range(of_block * width, width),
                    self.d_value.range(at * dims.value_dim + columns.start, columns.len()),
                    self.d_decay.range(of_block * self.width, self.width),
                )
            };
            // `d_end` grows from the last token to the first.
            add_product(s, chunk.query.row(row), d_query.row(row), d_end);
            subtract_product(s, chunk.key.row(row), d_key.row(row), d_end);
            match to_decay {
                [sum] if width != 1 => *sum = d_end[..width].iter().sum(),
                channels => channels.copy_from_slice(&d_end[..width]),
            }
            for (to, from) in to_query.iter_mut().zip(d_query.row(row)) {
                *to = self.spec.scale * from;
            }
            to_key.copy_from_slice(&d_key.row(row)[..width]);
            to_value.copy_from_slice(&d_value.row(row)[..columns.len()]);
        }
    }

    /// Writes the gradient of the first state of a stream; with the first columns, the normaliser's.
    #[inline(always)]
    fn write_state(&self, stream: &Stream, d_state: &Rows) {
        let (layout, columns) = (&self.layout, &stream.columns);
        for row in 0..self.dims.key_dim {
            let at = layout.of_sequence(stream) + row * layout.columns;
            // SAFETY: these columns belong to the stream; `backward` has made room for all states.
            unsafe { self.d_state.range(at + columns.start, columns.len()) }
                .copy_from_slice(&d_state.row(row)[..columns.len()]);
            if self.spec.normalise && stream.block == 0 {
                // SAFETY: the column of the normaliser belongs to the stream of the first columns.
                let to = unsafe { self.d_state.range(at + self.dims.value_dim, 1) };
                to[0] = d_state.row(row)[columns.len()];
            }
        }
    }
}

/// `sums -= a ⊙ b`
#[inline(always)]
fn subtract_product<S: Simd>(s: S, a: &[f32], b: &[f32], sums: &mut [f32]) {
    for at in (0..a.len()).step_by(LANES) {
        let product = s.mul(s.read(a, at, 0.0), s.read(b, at, 0.0));
        s.write(sums, at, s.sub(s.read(sums, at, 0.0), product));
    }
}

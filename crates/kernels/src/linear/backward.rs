//! Gradients, chunk after chunk from the last to the first.
//!
//! With `dS` the gradient of the state after a chunk and `X = dO Vᵀ` up to the diagonal, the gradient of the weights:
//! `dV = Wᵀ dO + K_out dS`, `dQ_in = dO Sᵀ`, `dK_out = V dSᵀ`, `dS ← diag(carry) dS + Q_inᵀ dO`. Queries and keys get what
//! reaches them through `Q_in`, `K_out` and `W`. A log-decay acts on all weights between an earlier key and a later query, and on
//! what leaves the chunk: its gradient is the sum of `q_i ⊙ dq_i - k_i ⊙ dk_i` over its own and later tokens of the chunk, plus
//! `rowsum(S_end ⊙ dS)` with the state after the chunk.

use std::cell::RefCell;

use super::CHUNK;
use super::chunk::{read_rows, read_state};
use super::decay::ChunkDecay;
use super::forward::{by_token, divisor, read_sums};
use super::gradient::{ChunkGradient, add_product, subtract_product};
use super::inputs::{Decay, Dims, Inputs, Recurrence};
use super::pass::{self, Pass, Scratch};
use super::rows::Rows;
use super::stream::{Layout, Place, Stream, Streams};
use super::work;
use crate::attention::View4;
use crate::disjoint::Disjoint;
use crate::profile;
use crate::simd::slices::sums;
use crate::simd::{LANES, Simd};

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

/// Where the gradients of the inputs go, contiguous; every element is written.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[batch, tokens, heads, key_dim]`.
    pub query: &'a mut [f32],
    /// `[batch, tokens, heads, key_dim]`.
    pub key: &'a mut [f32],
    /// `[batch, tokens, heads, value_dim]`.
    pub value: &'a mut [f32],
    /// `[heads]`, `[batch, tokens, heads]` or `[batch, tokens, heads, key_dim]`; none if it is not wanted.
    pub decay: Option<&'a mut [f32]>,
    /// `[batch, sequences, heads, key_dim, columns]`, of the states that the sequences start from.
    pub state: &'a mut [f32],
}

impl Gradients<'_> {
    /// Panics unless the gradients have the lengths that `dims` states.
    fn check(&self, spec: &Recurrence, dims: &Dims, inputs: &Inputs<'_>) {
        let rows = dims.batch * dims.tokens * dims.heads;
        let decays = match inputs.decay {
            Decay::None => 0,
            Decay::Head(_) => dims.heads,
            Decay::Token(_) => rows,
            Decay::Channel(_) => rows * dims.key_dim,
        };
        let decay = self.decay.as_ref().map_or(decays, |decay| decay.len());
        for (name, found, expected) in [
            ("queries", self.query.len(), rows * dims.key_dim),
            ("keys", self.key.len(), rows * dims.key_dim),
            ("values", self.value.len(), rows * dims.value_dim),
            ("decays", decay, decays),
            ("states", self.state.len(), inputs.states(spec, dims)),
        ] {
            assert_eq!(found, expected, "elements of the gradient of the {name}");
        }
    }
}

/// Computes the gradients.
///
/// # Panics
/// If a slice has not the length that `dims` states, or the offsets do not ascend from 0 to the number of tokens.
pub fn backward(
    spec: &Recurrence,
    dims: &Dims,
    inputs: &Inputs<'_>,
    upstream: &Upstream<'_>,
    gradients: Gradients<'_>,
) {
    inputs.check(spec, dims);
    upstream.d_out.check("d_out", [dims.batch, dims.heads, dims.tokens], dims.value_dim);
    assert_eq!(upstream.chunk_states.len(), inputs.chunk_states(spec, dims), "elements of the states of chunks");
    let states = inputs.states(spec, dims);
    assert_eq!(upstream.d_states.map_or(states, <[f32]>::len), states, "elements of the last states' gradient");
    assert!(!spec.normalise || upstream.out.len() == dims.output(), "elements of the output");
    gradients.check(spec, dims, inputs);
    let _span = profile::span("linear recurrence, backward").work(|| work::of_gradients(dims, inputs));

    let streams = Streams::new(dims, inputs, columns_of_a_part(dims, inputs));
    let blocks = streams.blocks();
    let Gradients { query, key, value, decay, state } = gradients;
    let width = match (&decay, inputs.decay) {
        (None, _) | (_, Decay::None) => 0,
        (_, Decay::Head(_) | Decay::Token(_)) => 1,
        (_, Decay::Channel(_)) => dims.key_dim,
    };
    // Blocks of columns have sums of their own, and so have tokens that share a decay.
    let shared = matches!(inputs.decay, Decay::Head(_));
    let rows = if blocks > 1 { blocks * dims.batch * dims.tokens * dims.heads } else { 0 };
    let [mut queries, mut keys] = [0, 1].map(|_| vec![0.0; rows * dims.key_dim]);
    let mut decays = vec![0.0; if shared { blocks * dims.batch * dims.tokens * dims.heads } else { rows } * width];
    let decay = decay.unwrap_or_default();
    let call = Call {
        spec,
        dims,
        inputs,
        upstream,
        layout: Layout::new(spec, dims, inputs),
        width,
        d_query: Disjoint::new(if blocks > 1 { &mut queries } else { &mut *query }),
        d_key: Disjoint::new(if blocks > 1 { &mut keys } else { &mut *key }),
        d_value: Disjoint::new(value),
        d_decay: Disjoint::new(if blocks > 1 || shared { &mut decays } else { &mut *decay }),
        d_state: Disjoint::new(state),
    };
    pass::run(&call, &inputs.decay, &streams, &SCRATCH);
    if blocks > 1 {
        sum_pieces(&queries, query);
        sum_pieces(&keys, key);
    }
    if blocks > 1 || shared {
        sum_pieces(&decays, decay);
    }
}

/// `sums` becomes the sum over the pieces of `values` that are as long.
fn sum_pieces(values: &[f32], sums: &mut [f32]) {
    let mut exact = vec![0.0; sums.len()];
    for piece in values.chunks_exact(sums.len().max(1)) {
        exact.iter_mut().zip(piece).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter_mut().zip(exact).for_each(|(to, sum)| *to = sum as f32);
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

thread_local! {
    static SCRATCH: RefCell<Scratch<ChunkGradient>> = RefCell::default();
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

impl Pass for Call<'_> {
    type Room = ChunkGradient;

    #[inline(always)]
    fn run<S: Simd, D: ChunkDecay>(&self, s: S, stream: Stream, room: &mut ChunkGradient, decay: &mut D) {
        let Self { spec, dims, inputs, upstream, layout, .. } = self;
        let columns = stream.columns.clone();
        let size = [dims.key_dim, layout.columns];
        let last = upstream.d_states.map(|states| &states[layout.of_sequence(&stream)..][..dims.state(spec)]);
        read_state(s, &mut room.d_state, last, size, columns.clone(), spec.normalise);
        if spec.normalise && stream.block > 0 {
            // The first block alone counts the normaliser's column.
            (0..dims.key_dim).for_each(|row| room.d_state.row_mut(row)[columns.len()] = 0.0);
        }
        for (number, place) in stream.chunks().rev() {
            let before = &upstream.chunk_states[layout.of_chunk(&place, number)..][..dims.state(spec)];
            read_state(s, &mut room.state, Some(before), size, columns.clone(), spec.normalise);
            read_sums(&mut room.sums, Some(before).filter(|_| spec.normalise), size);
            room.chunk.read(s, spec, dims, inputs, &place, columns.clone(), spec.normalise);
            decay.read(s, &inputs.decay, &place, dims.key_dim);
            decay.meet_state(s, &mut room.chunk);
            decay.weigh(s, &mut room.chunk);
            self.read_upstream(s, &stream, &place, room);
            room.through_state(s, columns.len(), self.width > 0);
            let ChunkGradient { chunk, d_query, d_key, d_end, .. } = room;
            decay.scale_as_met(s, chunk.tokens, d_query, d_key);
            for token in 0..if self.width > 0 { chunk.tokens } else { 0 } {
                add_product(s, chunk.key.row(token), d_key.row(token), d_end);
            }
            room.through_weights(s, decay);
            room.advance(s);
            self.write(s, &stream, &place, room);
        }
        self.write_state(&stream, &room.d_state);
    }
}

impl Call<'_> {
    /// Reads the gradients of the outputs. If these are normalised, `o = n / d`, the rows become those of `n`, and in the column of
    /// the normaliser `dd = -(do · o) / d`.
    #[inline(always)]
    fn read_upstream<S: Simd>(&self, s: S, stream: &Stream, place: &Place, room: &mut ChunkGradient) {
        let (dims, columns) = (self.dims, stream.columns.clone());
        let ChunkGradient { chunk, sums: before, d_out, .. } = room;
        if !self.spec.normalise {
            return read_rows(s, d_out, self.upstream.d_out, place, columns, 1.0);
        }
        d_out.resize(CHUNK, columns.len() + 1);
        let out = by_token(self.upstream.out, dims, dims.value_dim);
        for (row, token) in place.tokens.clone().enumerate() {
            let divisor = divisor(s, [chunk.query_in.row(row), before], 1.0, chunk.weights.row(row));
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
    fn write<S: Simd>(&self, s: S, stream: &Stream, place: &Place, room: &mut ChunkGradient) {
        let ChunkGradient { chunk, d_query, d_key, d_value, d_end, .. } = room;
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
            if self.width > 0 {
                add_product(s, chunk.query.row(row), d_query.row(row), d_end);
                subtract_product(s, chunk.key.row(row), d_key.row(row), d_end);
            }
            match to_decay {
                [] => {}
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

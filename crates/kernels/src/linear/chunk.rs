//! The tokens of one chunk in working memory, and the state they meet.

use std::ops::Range;

use super::CHUNK;
use super::inputs::{Dims, Inputs, Recurrence};
use super::rows::Rows;
use super::stream::Place;
use crate::attention::View4;
use crate::simd::{LANES, Simd, prefetch_second_level};

/// The tokens of a chunk.
#[derive(Default)]
pub(super) struct Chunk {
    /// How many there are.
    pub tokens: usize,
    pub key_dim: usize,
    /// Columns of `value`.
    pub columns: usize,
    /// The scaled queries.
    pub query: Rows,
    pub key: Rows,
    /// The values' columns of a stream, then a one where the sums of keys are a column of the state.
    pub value: Rows,
    /// The queries as they meet the state before the chunk.
    pub query_in: Rows,
    /// The keys as they enter the state after the chunk.
    pub key_out: Rows,
    /// What becomes of each row of the state from before the chunk to after it.
    pub carry: Vec<f32>,
    /// `[CHUNK, CHUNK]`, zero above the diagonal.
    pub weights: Rows,
    /// Transposed keys.
    pub transposed: Rows,
}

impl Chunk {
    /// Reads the tokens of `place`; with `ones`, the values have a column of ones after the others.
    #[inline(always)]
    pub fn read<S: Simd>(
        &mut self,
        s: S,
        spec: &Recurrence,
        dims: &Dims,
        inputs: &Inputs<'_>,
        place: &Place,
        columns: Range<usize>,
        ones: bool,
    ) {
        self.tokens = place.tokens.len();
        self.key_dim = dims.key_dim;
        self.columns = columns.len() + usize::from(ones);
        read_rows(s, &mut self.query, inputs.query, place, 0..dims.key_dim, spec.scale);
        read_rows(s, &mut self.key, inputs.key, place, 0..dims.key_dim, 1.0);
        read_values(s, &mut self.value, inputs.value, place, columns, ones);
        self.query_in.resize(CHUNK, dims.key_dim);
        self.key_out.resize(CHUNK, dims.key_dim);
        self.carry.resize(dims.key_dim.next_multiple_of(LANES), 0.0);
        self.weights.resize(CHUNK, CHUNK);
    }
}

/// Sets `rows` to some columns of the tokens of `place`, times `factor`; zeros after the last token.
#[inline(always)]
pub(super) fn read_rows<S: Simd>(
    s: S,
    rows: &mut Rows,
    view: View4<'_>,
    place: &Place,
    columns: Range<usize>,
    factor: f32,
) {
    rows.resize(CHUNK, columns.len());
    for (row, token) in place.tokens.clone().enumerate() {
        let source = &view.row(place.batch, place.head, token, columns.end)[columns.start..];
        rows.set(s, row, source, factor);
    }
    rows.clear(place.tokens.len()..place.tokens.len().next_multiple_of(LANES));
}

/// Asks for some columns of the tokens of `place`, which are read after something else is computed.
#[inline(always)]
pub(super) fn ask_for(view: View4<'_>, place: &Place, columns: Range<usize>) {
    let [batches, heads, tokens] = view.strides;
    let first = place.batch * batches + place.head * heads + columns.start;
    for token in place.tokens.clone() {
        prefetch_second_level(view.data, first + token * tokens, columns.len());
    }
}

/// As [`read_rows`], with a column of ones after the others if `ones`.
#[inline(always)]
pub(super) fn read_values<S: Simd>(
    s: S,
    rows: &mut Rows,
    view: View4<'_>,
    place: &Place,
    columns: Range<usize>,
    ones: bool,
) {
    rows.resize(CHUNK, columns.len() + usize::from(ones));
    for (row, token) in place.tokens.clone().enumerate() {
        let source = &view.row(place.batch, place.head, token, columns.end)[columns.start..];
        rows.set(s, row, source, 1.0);
        if ones {
            rows.row_mut(row)[columns.len()] = 1.0;
        }
    }
    rows.clear(place.tokens.len()..place.tokens.len().next_multiple_of(LANES));
}

/// Reads the state `from` `[key_dim, width]`: some columns, then with `sums` the last one; zero if there is none.
#[inline(always)]
pub(super) fn read_state<S: Simd>(
    s: S,
    state: &mut Rows,
    from: Option<&[f32]>,
    [key_dim, width]: [usize; 2],
    columns: Range<usize>,
    sums: bool,
) {
    state.resize(key_dim, columns.len() + usize::from(sums));
    state.clear(0..key_dim.next_multiple_of(LANES));
    let Some(from) = from else { return };
    for (row, source) in from.chunks_exact(width.max(1)).take(key_dim).enumerate() {
        state.set(s, row, &source[columns.clone()], 1.0);
        if sums {
            state.row_mut(row)[columns.len()] = source[width - 1];
        }
    }
}

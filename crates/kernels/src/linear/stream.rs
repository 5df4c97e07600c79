//! How the work is divided: a stream is a sequence of one head and some columns of its values, chunk after chunk.

use std::ops::Range;

use super::CHUNK;
use super::inputs::{Dims, Inputs, Recurrence};

/// Some tokens of one head.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub batch: usize,
    pub head: usize,
    pub tokens: Range<usize>,
}

/// What one part computes.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// The whole sequence.
    pub place: Place,
    /// Number of the sequence in its row of the batch.
    pub sequence: usize,
    /// Which of the blocks of columns.
    pub block: usize,
    /// Columns of the values.
    pub columns: Range<usize>,
    /// Number of the first chunk among those of the row.
    first_chunk: usize,
}

impl Stream {
    /// The chunks: number and tokens.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = (usize, Place)> + use<> {
        let Self { place, first_chunk, .. } = self.clone();
        (0..place.tokens.len().div_ceil(CHUNK)).map(move |chunk| {
            let start = place.tokens.start + chunk * CHUNK;
            let tokens = start..(start + CHUNK).min(place.tokens.end);
            (first_chunk + chunk, Place { tokens, ..place.clone() })
        })
    }
}

/// All streams of a call.
pub(super) struct Streams<'a> {
    dims: &'a Dims,
    offsets: &'a [usize],
    /// Columns of a block.
    width: usize,
    /// Number of the first chunk of each sequence.
    first_chunks: Vec<usize>,
}

impl<'a> Streams<'a> {
    /// Streams of blocks of `width` columns.
    pub fn new(dims: &'a Dims, inputs: &Inputs<'a>, width: usize) -> Self {
        let mut chunks = 0;
        let first_chunks = inputs.offsets.windows(2).map(|sequence| {
            let first = chunks;
            chunks += (sequence[1] - sequence[0]).div_ceil(CHUNK);
            first
        });
        Self { dims, offsets: inputs.offsets, width: width.max(1), first_chunks: first_chunks.collect() }
    }

    /// Blocks of columns; one, if there are no columns.
    pub fn blocks(&self) -> usize {
        self.dims.value_dim.div_ceil(self.width).max(1)
    }

    pub fn count(&self) -> usize {
        self.dims.batch * self.first_chunks.len() * self.dims.heads * self.blocks()
    }

    /// Stream `index`.
    pub fn get(&self, index: usize) -> Stream {
        let (index, block) = (index / self.blocks(), index % self.blocks());
        let (index, head) = (index / self.dims.heads, index % self.dims.heads);
        let (batch, sequence) = (index / self.first_chunks.len(), index % self.first_chunks.len());
        let start = block * self.width;
        Stream {
            place: Place { batch, head, tokens: self.offsets[sequence]..self.offsets[sequence + 1] },
            sequence,
            block,
            columns: start..(start + self.width).min(self.dims.value_dim),
            first_chunk: self.first_chunks[sequence],
        }
    }
}

/// Where a state lies among those of all sequences, and among those of all chunks.
pub(super) struct Layout {
    heads: usize,
    sequences: usize,
    chunks: usize,
    /// Columns of a state.
    pub columns: usize,
    key_dim: usize,
}

impl Layout {
    pub fn new(spec: &Recurrence, dims: &Dims, inputs: &Inputs<'_>) -> Self {
        Self {
            heads: dims.heads,
            sequences: inputs.sequences(),
            chunks: inputs.chunks(),
            columns: dims.columns(spec),
            key_dim: dims.key_dim,
        }
    }

    /// The first element of the state of a stream's sequence, in `[batch, sequences, heads, key_dim, columns]`.
    pub fn of_sequence(&self, stream: &Stream) -> usize {
        let Place { batch, head, .. } = stream.place;
        ((batch * self.sequences + stream.sequence) * self.heads + head) * self.key_dim * self.columns
    }

    /// The first element of the state before a chunk, in `[batch, heads, chunks, key_dim, columns]`.
    pub fn of_chunk(&self, place: &Place, chunk: usize) -> usize {
        ((place.batch * self.heads + place.head) * self.chunks + chunk) * self.key_dim * self.columns
    }
}

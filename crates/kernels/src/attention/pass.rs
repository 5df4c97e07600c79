//! One tile of lines passes over the keys, split by split and block by block.

use std::ops::Range;

use super::softmax::{RECORD_HEADER, Running, empty_record, fit, merge_records};
use super::source::{BLOCK, Source};
use super::tile::Tile;
use crate::product::{Columns, ROWS, Vectors};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Slots of a split. Every split starts from an empty state and the states are merged in order, in prefill too, so that
/// decoding can give the splits of a row to different workers and still return the same bits.
pub const SPLIT: usize = 512;

/// A decoded block.
pub(super) struct Block<'a> {
    /// `[head_dim, BLOCK]`.
    pub keys: &'a [f32],
    /// `BLOCK` rows, whose last vector may be read past the value.
    pub values: Vectors<'a>,
}

/// Where blocks come from.
pub(super) trait Blocks {
    /// The block, in `buffer` if it has to be decoded.
    fn fetch<'a>(&'a self, block: usize, buffer: &'a mut BlockBuffer) -> Block<'a>;
    /// Lets the tile take in what it sees of the block without decoding it first, `next` being the block after it; false if that is not
    /// possible.
    fn absorb_stored(&self, _tile: &Tile<'_>, _block: usize, _next: Option<usize>, _running: &mut Running) -> bool {
        false
    }
}

/// Room for one decoded block.
#[derive(Default)]
pub(super) struct BlockBuffer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Blocks decoded each time they are needed.
pub(super) struct Decoding<'a> {
    pub source: &'a dyn Source,
    pub head_dim: usize,
    pub value_dim: usize,
}

impl Blocks for Decoding<'_> {
    fn fetch<'a>(&'a self, block: usize, buffer: &'a mut BlockBuffer) -> Block<'a> {
        buffer.keys.resize(self.head_dim * BLOCK, 0.0);
        // One vector more, because the last row's last vector may reach past it.
        buffer.values.resize(BLOCK * self.value_dim + LANES, 0.0);
        self.source.decode(block, &mut buffer.keys, &mut buffer.values[..BLOCK * self.value_dim]);
        Block { keys: &buffer.keys, values: Vectors { data: &buffer.values, stride: self.value_dim } }
    }

    fn absorb_stored(&self, tile: &Tile<'_>, block: usize, next: Option<usize>, running: &mut Running) -> bool {
        // More lines share the work of decoding.
        tile.lines.len() <= ROWS && self.source.absorb_stored(tile, self.value_dim, block, next, running)
    }
}

/// Working memory of a worker, kept from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    /// Scaled queries of a tile.
    pub query: Vec<f32>,
    /// Where a [`Pass`] works.
    pub room: Room,
    /// Keys and values of a (batch, key/value head), brought into the form of blocks.
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
    /// The weights that the keys of a split received.
    pub sums: Vec<f32>,
}

/// Where a [`Pass`] works.
#[derive(Default)]
pub(super) struct Room {
    /// The states of the tile over all splits so far, as records.
    pub total: Vec<f32>,
    /// The states over one split, as records.
    part: Vec<f32>,
    /// The states over the last split.
    pub running: Running,
    buffer: BlockBuffer,
}

thread_local! {
    /// The scratch of this thread.
    pub(super) static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// The splits of slots `0..end` that hold a block that `touches` accepts.
pub(super) fn splits_of(end: usize, touches: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    (0..end.div_ceil(SPLIT)).filter(move |&split| blocks_of(split).any(&touches))
}

/// The blocks of a split.
pub(super) fn blocks_of(split: usize) -> Range<usize> {
    split * (SPLIT / BLOCK)..(split + 1) * (SPLIT / BLOCK)
}

/// The width of a tile's records.
pub(super) fn record_width(value_dim: usize) -> usize {
    RECORD_HEADER + value_dim.next_multiple_of(LANES)
}

/// A tile of lines that passes over blocks of keys and values.
pub(super) struct Pass<'a> {
    pub tile: Tile<'a>,
    pub blocks: &'a dyn Blocks,
    pub value_dim: usize,
    /// Whether the entropy is wanted.
    pub entropy: bool,
    /// The source and the block that this worker reads after the pass, if they are known.
    pub after: Option<(&'a dyn Source, usize)>,
}

impl Pass<'_> {
    /// Starts the states of the tile's lines over no keys.
    pub fn start(&self, total: &mut Vec<f32>) {
        let width = record_width(self.value_dim);
        fit(total, self.tile.lines.len() * width);
        for (record, line) in total.chunks_exact_mut(width).zip(self.tile.lines) {
            empty_record(record, line.sink);
        }
    }

    /// Passes over `splits`, each from empty states, and leaves their states, merged in order, in `room.total`.
    pub fn over(&self, splits: impl Iterator<Item = usize>, room: &mut Room) {
        let width = record_width(self.value_dim);
        let mut splits = splits.peekable();
        // Without sink logits the states over all splits so far start as those over the first one.
        if self.tile.sinks || splits.peek().is_none() {
            self.start(&mut room.total);
        } else if let Some(split) = splits.next() {
            self.over_split(split, splits.peek().copied(), room);
            fit(&mut room.total, self.tile.lines.len() * width);
            room.running.record(&mut room.total);
        }
        while let Some(split) = splits.next() {
            self.over_split(split, splits.peek().copied(), room);
            fit(&mut room.part, self.tile.lines.len() * width);
            room.running.record(&mut room.part);
            merge_records(&mut room.total, &room.part, width);
        }
    }

    /// Passes over `split` from empty states, which are left in `room.running`; `next` is the split after it.
    pub fn over_split(&self, split: usize, next: Option<usize>, room: &mut Room) {
        let blocks_of = |split| blocks_of(split).filter(|&block| self.tile.touches(block));
        room.running.reset(self.tile.lines.len(), self.value_dim.div_ceil(LANES), self.entropy);
        let mut blocks = blocks_of(split).peekable();
        while let Some(block) = blocks.next() {
            let next = blocks.peek().copied().or_else(|| blocks_of(next?).next());
            if let (None, Some((source, block))) = (next, self.after) {
                source.prefetch_block(block);
            }
            if self.blocks.absorb_stored(&self.tile, block, next, &mut room.running) {
                continue;
            }
            let Block { keys, values } = self.blocks.fetch(block, &mut room.buffer);
            let keys = Vectors { data: keys, stride: BLOCK };
            dispatch(Absorb { tile: &self.tile, block, keys, values: [values], running: &mut room.running });
        }
    }
}

/// A tile takes in one block, a register tile of lines at a time.
pub(super) struct Absorb<'a, K, V, const PARTS: usize> {
    pub tile: &'a Tile<'a>,
    pub block: usize,
    pub keys: K,
    /// The values of each part of the block.
    pub values: [V; PARTS],
    pub running: &'a mut Running,
}

impl<K: Columns, V: Columns, const PARTS: usize> Kernel for Absorb<'_, K, V, PARTS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, block, keys, values, running } = self;
        let mut scores = [0.0; ROWS * BLOCK];
        let mut shrink = [0.0; ROWS];
        for (line, columns) in tile.strips(block) {
            let lines = line..(line + ROWS).min(tile.lines.len());
            let shrink = &mut shrink[..lines.len()];
            tile.scores(s, lines, block, keys, &mut scores, None);
            running.weigh(s, line, &mut scores, shrink);
            running.add(s, line, shrink, &scores, values, columns);
        }
    }
}

//! Where keys and values come from: blocks of slots, decoded when they are needed.

use std::ops::Range;

use super::pass::Absorb;
use super::softmax::Running;
use super::tile::Tile;
use crate::product::Columns;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Slots decoded at a time; a multiple of every page size.
pub const BLOCK: usize = 64;

/// Keys and values of one sequence and one key/value head, readable in blocks of [`BLOCK`] slots.
pub trait KeyValueBlocks: Sync {
    /// How many slots there are.
    fn slots(&self) -> usize;
    /// Decodes the keys of `block` transposed to `[head_dim, BLOCK]`; columns past the end are zero.
    fn keys<S: Simd>(&self, simd: S, block: usize, out: &mut [f32]);
    /// Decodes the values of `block` to `[BLOCK, value_dim]`; rows past the end are zero.
    fn values<S: Simd>(&self, simd: S, block: usize, out: &mut [f32]);
    /// Text position of every slot, ascending; `None`: slot index = position.
    fn positions(&self) -> Option<&[i32]>;
    /// Bytes that keys and values take as they are stored.
    fn stored_bytes(&self) -> usize;
    /// Asks for what is needed to find the first blocks.
    fn prefetch_pages(&self) {}
    /// Asks for the keys and values of `block`.
    fn prefetch_block(&self, _block: usize) {}
    /// Hands the keys and values of `block`, of `widths` channels, to `reader` as they are stored; `next` is the block that is
    /// read after it. False if they cannot be read there, or have other widths: then they are decoded.
    fn stored<R: StoredReader>(&self, _block: usize, _next: Option<usize>, _widths: [usize; 2], _reader: R) -> bool {
        false
    }
}

/// Reads the keys and values of a block where they are stored.
pub trait StoredReader {
    /// Reads the block.
    ///
    /// # Safety
    /// `keys` must have a step of [`BLOCK`] columns for every channel of a key; the `values` of each part of the block a step for
    /// each of `BLOCK / PARTS` slots, with a column for every channel of a value, rounded up to whole vectors.
    unsafe fn read<K: Columns, V: Columns, const PARTS: usize>(self, keys: K, values: [V; PARTS]);
}

/// A tile takes in one block from where it is stored.
struct AbsorbStored<'a> {
    tile: &'a Tile<'a>,
    block: usize,
    running: &'a mut Running,
}

impl StoredReader for AbsorbStored<'_> {
    unsafe fn read<K: Columns, V: Columns, const PARTS: usize>(self, keys: K, values: [V; PARTS]) {
        dispatch(Absorb { tile: self.tile, block: self.block, keys, values, running: self.running });
    }
}

/// A source of any type: only decoding is compiled per type, everything else once.
pub(super) trait Source: Sync {
    /// How many slots there are.
    fn slots(&self) -> usize;
    /// Text position of every slot.
    fn positions(&self) -> Option<&[i32]>;
    /// Bytes that keys and values take as they are stored.
    fn stored_bytes(&self) -> usize;
    /// See [`KeyValueBlocks::prefetch_pages`].
    fn prefetch_pages(&self);
    /// See [`KeyValueBlocks::prefetch_block`].
    fn prefetch_block(&self, block: usize);
    /// Lets a tile of few lines take in `block` from where it is stored, `next` being the block after it; false if the block has
    /// to be decoded first.
    fn absorb_stored(
        &self,
        tile: &Tile<'_>,
        value_dim: usize,
        block: usize,
        next: Option<usize>,
        running: &mut Running,
    ) -> bool;
    /// Decodes keys and values of `block`; either output may be empty.
    fn decode(&self, block: usize, keys: &mut [f32], values: &mut [f32]);
}

impl<B: KeyValueBlocks> Source for B {
    fn slots(&self) -> usize {
        KeyValueBlocks::slots(self)
    }

    fn positions(&self) -> Option<&[i32]> {
        KeyValueBlocks::positions(self)
    }

    fn stored_bytes(&self) -> usize {
        KeyValueBlocks::stored_bytes(self)
    }

    fn prefetch_pages(&self) {
        KeyValueBlocks::prefetch_pages(self);
    }

    fn prefetch_block(&self, block: usize) {
        KeyValueBlocks::prefetch_block(self, block);
    }

    fn absorb_stored(
        &self,
        tile: &Tile<'_>,
        value_dim: usize,
        block: usize,
        next: Option<usize>,
        running: &mut Running,
    ) -> bool {
        self.stored(block, next, [tile.head_dim, value_dim], AbsorbStored { tile, block, running })
    }

    fn decode(&self, block: usize, keys: &mut [f32], values: &mut [f32]) {
        dispatch(Decode { source: self, block, keys, values });
    }
}

/// Decodes one block.
struct Decode<'a, B> {
    source: &'a B,
    block: usize,
    keys: &'a mut [f32],
    values: &'a mut [f32],
}

impl<B: KeyValueBlocks> Kernel for Decode<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if !self.keys.is_empty() {
            self.source.keys(s, self.block, self.keys);
        }
        if !self.values.is_empty() {
            self.source.values(s, self.block, self.values);
        }
    }
}

/// The slots of `block` that exist among `slots`.
pub(super) fn block_slots(block: usize, slots: usize) -> Range<usize> {
    let start = (block * BLOCK).min(slots);
    start..(start + BLOCK).min(slots)
}

/// Rows of `f32` at a stride: `[slots, width]` with contiguous rows.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// The elements, from the first row on.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
    /// How many rows.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
}

impl<'a> Strided<'a> {
    /// A contiguous matrix `[rows, width]`.
    pub fn contiguous(data: &'a [f32], width: usize) -> Self {
        Self { data, stride: width, rows: data.len() / width.max(1), width }
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.width]
    }

    /// Copies the rows of `block` to `[BLOCK, stride]`, the first `width` of each row; missing rows become zero.
    #[inline(always)]
    pub(super) fn copy_block<S: Simd>(&self, s: S, block: usize, out: &mut [f32], stride: usize) {
        let slots = block_slots(block, self.rows);
        let count = slots.len();
        for (slot, out) in slots.zip(out.chunks_mut(stride)) {
            copy(s, self.row(slot), &mut out[..self.width]);
        }
        let end = (count * stride).min(out.len());
        out[end..].fill(0.0);
    }

    /// Transposes the rows of `block` to `[width, BLOCK]`; missing rows become zero columns.
    #[inline(always)]
    pub(super) fn transpose_block<S: Simd>(&self, s: S, block: usize, out: &mut [f32]) {
        let slots = block_slots(block, self.rows);
        let out = &mut out[..self.width * BLOCK];
        for part in 0..BLOCK / LANES {
            let start = slots.start + part * LANES;
            let rows = slots.end.saturating_sub(start).min(LANES);
            for column in (0..self.width).step_by(LANES) {
                let columns = LANES.min(self.width - column);
                let mut lanes = [s.zero(); LANES];
                for (row, lane) in lanes.iter_mut().take(rows).enumerate() {
                    let row = self.row(start + row);
                    *lane = match columns {
                        // SAFETY: sixteen columns from `column` on are inside the row.
                        LANES => unsafe { s.load(row, column) },
                        _ => s.load_partial(&row[column..], 0.0),
                    };
                }
                for (c, lane) in s.transpose(lanes).into_iter().take(columns).enumerate() {
                    // SAFETY: `column + c < width` and the part ends inside the block, so inside `out`.
                    unsafe { s.store(out, (column + c) * BLOCK + part * LANES, lane) };
                }
            }
        }
    }
}

/// Copies a row by vectors.
#[inline(always)]
fn copy<S: Simd>(s: S, row: &[f32], out: &mut [f32]) {
    let whole = row.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: both have at least `whole` elements.
        unsafe { s.store(out, at, s.load(row, at)) };
    }
    out[whole..].copy_from_slice(&row[whole..]);
}

/// Keys and values in `f32`: the source that needs no decoding.
#[derive(Clone, Copy, Debug)]
pub struct Float<'a> {
    /// Keys `[slots, head_dim]`.
    pub keys: Strided<'a>,
    /// Values `[slots, value_dim]`.
    pub values: Strided<'a>,
    /// Text position of every slot.
    pub positions: Option<&'a [i32]>,
}

impl KeyValueBlocks for Float<'_> {
    fn slots(&self) -> usize {
        self.keys.rows
    }

    #[inline(always)]
    fn keys<S: Simd>(&self, s: S, block: usize, out: &mut [f32]) {
        self.keys.transpose_block(s, block, out);
    }

    #[inline(always)]
    fn values<S: Simd>(&self, s: S, block: usize, out: &mut [f32]) {
        self.values.copy_block(s, block, out, self.values.width);
    }

    fn positions(&self) -> Option<&[i32]> {
        self.positions
    }

    fn stored_bytes(&self) -> usize {
        self.keys.rows * (self.keys.width + self.values.width) * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, dispatch_at};

    struct Both<'a>(Float<'a>, usize);

    impl Kernel for Both<'_> {
        type Output = (Vec<f32>, Vec<f32>);
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut keys = vec![f32::NAN; self.0.keys.width * BLOCK];
            let mut values = vec![f32::NAN; BLOCK * self.0.values.width];
            self.0.keys(s, self.1, &mut keys);
            self.0.values(s, self.1, &mut values);
            (keys, values)
        }
    }

    #[test]
    fn blocks_are_transposed_and_padded() {
        for (slots, width, stride) in [(1, 1, 1), (70, 40, 55), (128, 16, 16), (131, 65, 70)] {
            let data: Vec<f32> = (0..slots * stride).map(|i| i as f32 + 1.0).collect();
            let rows = Strided { data: &data, stride, rows: slots, width };
            for level in Level::available() {
                for block in 0..slots.div_ceil(BLOCK) + 1 {
                    let (keys, values) =
                        dispatch_at(level, Both(Float { keys: rows, values: rows, positions: None }, block));
                    for slot in 0..BLOCK {
                        let at = block * BLOCK + slot;
                        for c in 0..width {
                            let expected = if at < slots { data[at * stride + c] } else { 0.0 };
                            assert_eq!(keys[c * BLOCK + slot], expected, "{level:?} {at} {c}");
                            assert_eq!(values[slot * width + c], expected, "{level:?} {at} {c}");
                        }
                    }
                }
            }
        }
    }
}

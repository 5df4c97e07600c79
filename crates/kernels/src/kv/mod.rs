//! Keys and values of one attention head, stored in pages.
//!
//! A [`KeyValues`] holds the pairs of one sequence, layer and key-value head. Slots are filled in order; a [`Page`] has
//! [`PAGE`] of them. Keys lie transposed inside a page (`[head_dim, PAGE]`), so the attention kernel reads sixteen keys
//! of one channel at once; values lie as they come (`[PAGE, value_dim]`). Pages are shared between forks and copied
//! when one of them writes.
//!
//! [`Codec`] says how a page stores numbers. Floats, `int8` and `int4` code every pair on its own, so a pair keeps its
//! bits whatever happens to its neighbours. KIVI codes keys across the slots of a page: pages start *open*, in half
//! precision, and are *settled* once they are full and behind the full-precision window. Settled pages are always the
//! first ones. What changes the pairs of a settled page (eviction, moving keys, appending after a rollback) opens it
//! and settles it again: each such change may cost its pairs another half a scale of error.

mod bounds;
mod bytes;
mod codec;
mod column_groups;
mod floats;
mod grid;
mod int8;
mod keys;
mod packed;
mod page;
mod row_groups;
pub mod saved;
mod scales;
mod selection;
mod stored;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

pub use bounds::{KeyBounds, PageScores};
pub use bytes::StoreBytes;
pub use codec::Codec;
pub use page::Page;

use crate::attention::{BLOCK, KeyValueBlocks, StoredReader};
use crate::profile;
use crate::rope::{HeadLayout, Rope};
use crate::simd::{Simd, prefetch};

/// Slots of one page; also the group of KIVI's keys.
pub const PAGE: usize = 32;

/// The key-value pairs of one head, `slots` of them.
#[derive(Clone, Debug)]
pub struct KeyValues {
    codec: Codec,
    head_dim: usize,
    value_dim: usize,
    slots: usize,
    pages: Vec<Arc<Page>>,
    /// How many pages, from the first on, are settled.
    settled: usize,
    /// Text position of every slot, ascending.
    positions: Vec<i32>,
}

impl KeyValues {
    /// An empty store for keys of `head_dim` and values of `value_dim` channels.
    pub fn new(codec: Codec, head_dim: usize, value_dim: usize) -> Self {
        Self { codec, head_dim, value_dim, slots: 0, pages: Vec::new(), settled: 0, positions: Vec::new() }
    }

    /// How pairs are stored.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Number of pairs held.
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether no pair is held.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Text position of every slot, ascending.
    pub fn positions(&self) -> &[i32] {
        &self.positions
    }

    /// Adds one pair: `key` `[head_dim]`, `value` `[value_dim]`, at text position `position`.
    pub fn append(&mut self, key: &[f32], value: &[f32], position: i32) {
        self.push(key, value, position);
        self.settle();
    }

    /// Adds one pair and leaves all pages as they are.
    ///
    /// For the rows of a chunk that attend to each other: [`KeyValues::settle`] after they have attended, and each of
    /// them saw at least the full-precision window before it uncoded.
    pub fn push(&mut self, key: &[f32], value: &[f32], position: i32) {
        let slot = self.slots % PAGE;
        let page = self.writable_page(slot);
        page.write(slot, key, value);
        self.positions.push(position);
        self.slots += 1;
    }

    /// The last page, open, to write `slot` and those after it; a new one for slot 0.
    fn writable_page(&mut self, slot: usize) -> &mut Page {
        if slot == 0 {
            self.pages.push(Arc::new(Page::new(self.codec, self.head_dim, self.value_dim)));
        }
        let settled = self.settled == self.pages.len();
        let page = Arc::make_mut(self.pages.last_mut().expect("a page was pushed for slot 0"));
        if settled {
            page.open(self.codec);
            self.settled -= 1;
        }
        page
    }

    /// Reads the pair of `slot` into `key` `[head_dim]` and `value` `[value_dim]`.
    pub fn read(&self, slot: usize, key: &mut [f32], value: &mut [f32]) {
        self.pages[slot / PAGE].read(slot % PAGE, key, value);
    }

    /// Keeps the slots `keep` (ascending), drops the others and closes the gaps.
    ///
    /// Codecs with scales per pair keep their bits. KIVI's settled pages keep theirs up to the first dropped slot; what
    /// follows is decoded and, outside the full-precision window, coded again in its new groups.
    pub fn compact(&mut self, keep: &[u32]) {
        if keep.len() == self.slots {
            return;
        }
        let mut kept = self.gathered(keep);
        kept.settle();
        *self = kept;
    }

    /// Forgets all slots from `slots` on. What was coded stays coded.
    pub fn truncate(&mut self, slots: usize) {
        if slots < self.slots {
            self.slots = slots;
            self.positions.truncate(slots);
            self.pages.truncate(slots.div_ceil(PAGE));
            self.settled = self.settled.min(self.pages.len());
        }
    }

    /// Moves every key so that positions are consecutive and end where they ended.
    ///
    /// Keys are turned by how far they move; those of the first slots are turned anew from `first`, their
    /// form before rotation, so that moving them again and again loses nothing. Quantised keys are coded again.
    pub fn make_consecutive(&mut self, rope: &Rope, first: &[Vec<f32>]) {
        let Some(&last) = self.positions.last() else { return };
        let layout = HeadLayout { row_stride: self.head_dim, heads: 1, head_dim: self.head_dim };
        let target = |slot: usize| last - (self.slots - 1 - slot) as i32;
        let mut key = vec![0.0; self.head_dim];
        for (index, (page, positions)) in self.pages.iter_mut().zip(self.positions.chunks_mut(PAGE)).enumerate() {
            let slots = index * PAGE..;
            if slots.clone().zip(positions.iter()).all(|(slot, &position)| position == target(slot)) {
                continue;
            }
            let page = Arc::make_mut(page);
            for (offset, (slot, position)) in slots.zip(positions).enumerate() {
                let delta = target(slot) - *position;
                if delta == 0 {
                    continue;
                }
                *position = target(slot);
                match first.get(slot) {
                    Some(unrotated) => {
                        key.copy_from_slice(unrotated);
                        rope.rotate_by(&mut key, layout, 1, *position);
                    }
                    None => {
                        page.read_key(offset, &mut key);
                        rope.rotate_by(&mut key, layout, 1, delta);
                    }
                }
                page.write_key(offset, &key);
            }
            if index < self.settled {
                page.settle(self.codec);
            }
        }
    }

    /// Memory held, by what it is for, exact and in constant time; pages shared with forks count in full.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes { positions: size_of_val(&self.positions[..]), ..StoreBytes::default() };
        let full = self.slots / PAGE;
        let settled = self.settled.min(full);
        // Pages of one form weigh the same, so one of each stands for all: of those that are open the last, which was in use just now.
        for (count, page) in [(settled, self.pages.first()), (full - settled, self.pages.last())] {
            if let Some(page) = page.filter(|_| count > 0) {
                bytes += page.bytes(PAGE) * count;
            }
        }
        if let Some(page) = self.pages.get(full) {
            bytes += page.bytes(self.slots % PAGE);
        }
        bytes
    }

    /// Codes whole pages that have left the full-precision window of the codec.
    pub fn settle(&mut self) {
        let Some(window) = self.codec.full_precision_window() else { return };
        let _span = profile::span("key-value coding");
        let behind = self.slots.saturating_sub(window) / PAGE;
        for page in self.pages.iter_mut().take(behind).skip(self.settled) {
            Arc::make_mut(page).settle(self.codec);
        }
        self.settled = self.settled.max(behind);
    }

    /// Slots in use of page `index`.
    fn used(&self, index: usize) -> usize {
        (self.slots - index * PAGE).min(PAGE)
    }
}

impl KeyValueBlocks for KeyValues {
    fn slots(&self) -> usize {
        self.slots
    }

    #[inline(always)]
    fn keys<S: Simd>(&self, simd: S, block: usize, out: &mut [f32]) {
        let first = block * BLOCK / PAGE;
        for index in 0..BLOCK / PAGE {
            match self.pages.get(first + index) {
                Some(page) => page.keys(simd, &mut out[index * PAGE..], BLOCK, self.used(first + index)),
                None => out.chunks_mut(BLOCK).for_each(|row| row[index * PAGE..(index + 1) * PAGE].fill(0.0)),
            }
        }
    }

    #[inline(always)]
    fn values<S: Simd>(&self, simd: S, block: usize, out: &mut [f32]) {
        let first = block * BLOCK / PAGE;
        for (index, out) in out.chunks_mut(PAGE * self.value_dim).enumerate().take(BLOCK / PAGE) {
            match self.pages.get(first + index) {
                Some(page) => page.values(simd, out, self.used(first + index)),
                None => out.fill(0.0),
            }
        }
    }

    fn positions(&self) -> Option<&[i32]> {
        Some(&self.positions)
    }

    fn stored_bytes(&self) -> usize {
        self.bytes().coded()
    }

    fn prefetch_pages(&self) {
        self.pages.iter().take(2 * BLOCK / PAGE).for_each(|page| prefetch(std::slice::from_ref(&**page), 0, 1));
    }

    fn prefetch_block(&self, block: usize) {
        self.pages.iter().skip(block * BLOCK / PAGE).take(BLOCK / PAGE).for_each(|page| page.prefetch());
    }

    fn stored<R: StoredReader>(&self, block: usize, next: Option<usize>, widths: [usize; 2], reader: R) -> bool {
        // What lies behind the last slot is not looked at, so a page can stand for one that is not there.
        let pages = |block: usize| {
            let first = self.pages.get(block * BLOCK / PAGE)?;
            Some([first, self.pages.get(block * BLOCK / PAGE + 1).unwrap_or(first)])
        };
        let Some([a, b]) = pages(block) else { return false };
        // What a page holds is found through the page itself, which has to be there first.
        let later = next.and_then(|next| pages(next + 1));
        later.into_iter().flatten().for_each(|page| prefetch(std::slice::from_ref(&**page), 0, 1));
        let [c, d] = next.and_then(pages).unwrap_or([a, b]);
        Page::stored([a, b], [c, d], widths, reader)
    }
}

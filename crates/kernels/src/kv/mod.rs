//! Keys and values of one attention head, stored in pages.
//!
//! A [`KeyValues`] holds the pairs of one sequence, layer and key-value head. Slots are filled in order; a [`Page`] has
//! [`PAGE`] of them. Keys lie transposed inside a page (`[head_dim, PAGE]`), so the attention kernel reads sixteen keys
//! of one channel at once; values lie as they come (`[PAGE, value_dim]`). Pages are shared between forks and copied
//! when one of them writes.

mod codec;
mod page;

use std::sync::Arc;

pub use codec::Codec;
pub use page::Page;

use crate::attention::{BLOCK, KeyValueBlocks};
use crate::rope::{HeadLayout, Rope};
use crate::simd::Simd;

/// Slots of one page; also the group of the quantising codecs.
pub const PAGE: usize = 32;

/// The key-value pairs of one head, `slots` of them.
#[derive(Clone, Debug)]
pub struct KeyValues {
    codec: Codec,
    head_dim: usize,
    value_dim: usize,
    slots: usize,
    pages: Vec<Arc<Page>>,
    /// Text position of every slot, ascending.
    positions: Vec<i32>,
}

impl KeyValues {
    /// An empty store for keys of `head_dim` and values of `value_dim` channels.
    pub fn new(codec: Codec, head_dim: usize, value_dim: usize) -> Self {
        Self { codec, head_dim, value_dim, slots: 0, pages: Vec::new(), positions: Vec::new() }
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
        let slot = self.slots % PAGE;
        if slot == 0 {
            self.pages.push(Arc::new(Page::new(self.codec, self.head_dim, self.value_dim)));
        }
        let page = self.pages.last_mut().expect("a page was pushed for slot 0");
        Arc::make_mut(page).write(slot, key, value);
        self.positions.push(position);
        self.slots += 1;
        self.settle();
    }

    /// Reads the pair of `slot` into `key` `[head_dim]` and `value` `[value_dim]`.
    pub fn read(&self, slot: usize, key: &mut [f32], value: &mut [f32]) {
        self.pages[slot / PAGE].read(slot % PAGE, key, value);
    }

    /// Keeps the slots `keep` (ascending), drops the others and closes the gaps.
    ///
    /// Codecs with one scale per pair keep their bits; those whose groups span pairs are coded again.
    pub fn compact(&mut self, keep: &[u32]) {
        if keep.len() == self.slots {
            return;
        }
        let mut kept = Self::new(self.codec, self.head_dim, self.value_dim);
        kept.pages.reserve_exact(keep.len().div_ceil(PAGE));
        kept.positions.reserve_exact(keep.len());
        let mut scratch = (vec![0.0; self.head_dim], vec![0.0; self.value_dim]);
        for &slot in keep {
            let slot = slot as usize;
            let target = kept.slots % PAGE;
            if target == 0 {
                kept.pages.push(Arc::new(Page::new(self.codec, self.head_dim, self.value_dim)));
            }
            let page = Arc::make_mut(kept.pages.last_mut().expect("a page was pushed for slot 0"));
            page.copy_slot(target, &self.pages[slot / PAGE], slot % PAGE, &mut scratch);
            kept.positions.push(self.positions[slot]);
            kept.slots += 1;
        }
        kept.settle();
        *self = kept;
    }

    /// Forgets all slots from `slots` on.
    pub fn truncate(&mut self, slots: usize) {
        if slots < self.slots {
            self.slots = slots;
            self.positions.truncate(slots);
            self.pages.truncate(slots.div_ceil(PAGE));
        }
    }

    /// Moves every key so that positions are consecutive and end where they ended.
    ///
    /// Keys are turned by how far they move; those of the first slots are turned anew from `first`, their
    /// form before rotation, so that moving them again and again loses nothing.
    pub fn make_consecutive(&mut self, rope: &Rope, first: &[Vec<f32>]) {
        let Some(&last) = self.positions.last() else { return };
        let layout = HeadLayout { row_stride: self.head_dim, heads: 1, head_dim: self.head_dim };
        let mut key = vec![0.0; self.head_dim];
        let mut value = vec![0.0; self.value_dim];
        for slot in 0..self.slots {
            let target = last - (self.slots - 1 - slot) as i32;
            let delta = target - self.positions[slot];
            if delta == 0 {
                continue;
            }
            match first.get(slot) {
                Some(unrotated) => {
                    key.copy_from_slice(unrotated);
                    rope.rotate_by(&mut key, layout, 1, target);
                }
                None => {
                    self.read(slot, &mut key, &mut value);
                    rope.rotate_by(&mut key, layout, 1, delta);
                }
            }
            Arc::make_mut(&mut self.pages[slot / PAGE]).write_key(slot % PAGE, &key);
            self.positions[slot] = target;
        }
    }

    /// Memory held, by what it is for.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes { positions: self.positions.len() * size_of::<i32>(), ..StoreBytes::default() };
        for (index, page) in self.pages.iter().enumerate() {
            let used = (self.slots - index * PAGE).min(PAGE);
            bytes += page.bytes(used);
        }
        bytes
    }

    /// Codes whole pages that have left the full-precision window of the codec.
    fn settle(&mut self) {
        let Some(window) = self.codec.full_precision_window() else { return };
        let settled = self.slots.saturating_sub(window) / PAGE;
        for page in self.pages[..settled].iter_mut().rev() {
            if page.is_settled() {
                break;
            }
            Arc::make_mut(page).settle(self.codec);
        }
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
}

impl KeyValues {
    /// Slots in use of page `index`.
    fn used(&self, index: usize) -> usize {
        (self.slots - index * PAGE).min(PAGE)
    }
}

/// Memory of a store, by what it is for, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreBytes {
    /// Codes or floats of keys and values in use.
    pub pairs: usize,
    /// Scales and minima of quantised groups.
    pub scales: usize,
    /// Text positions.
    pub positions: usize,
    /// Per-slot statistics kept for a policy.
    pub statistics: usize,
    /// Slots allocated but not in use.
    pub waste: usize,
}

impl StoreBytes {
    /// Everything together.
    pub fn total(&self) -> usize {
        self.pairs + self.scales + self.positions + self.statistics + self.waste
    }

    /// What the pairs themselves cost: codes and scales. Reports of compression use this.
    pub fn coded(&self) -> usize {
        self.pairs + self.scales
    }
}

impl std::ops::AddAssign for StoreBytes {
    fn add_assign(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.scales += other.scales;
        self.positions += other.positions;
        self.statistics += other.statistics;
        self.waste += other.waste;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn random(codec: Codec, slots: usize, head_dim: usize, value_dim: usize) -> (KeyValues, Vec<(Vec<f32>, Vec<f32>)>) {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut store = KeyValues::new(codec, head_dim, value_dim);
        let pairs: Vec<(Vec<f32>, Vec<f32>)> = (0..slots)
            .map(|_| {
                let mut draw = |n| (0..n).map(|_| rng.random_range(-2.0f32..2.0)).collect::<Vec<f32>>();
                (draw(head_dim), draw(value_dim))
            })
            .collect();
        for (position, (key, value)) in pairs.iter().enumerate() {
            store.append(key, value, position as i32 * 2);
        }
        (store, pairs)
    }

    fn read(store: &KeyValues, slot: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut key, mut value) = (vec![0.0; store.head_dim], vec![0.0; store.value_dim]);
        store.read(slot, &mut key, &mut value);
        (key, value)
    }

    #[test]
    fn float_codecs_return_what_was_appended() {
        for (codec, tolerance) in [(Codec::F32, 0.0), (Codec::F16, 1e-3), (Codec::Bf16, 8e-3)] {
            let (store, pairs) = random(codec, 70, 24, 16);
            for (slot, (key, value)) in pairs.iter().enumerate() {
                let (k, v) = read(&store, slot);
                for (a, b) in k.iter().zip(key).chain(v.iter().zip(value)) {
                    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{codec:?} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn blocks_equal_single_reads() {
        struct Decode<'a>(&'a KeyValues, usize);
        impl crate::simd::Kernel for Decode<'_> {
            type Output = (Vec<f32>, Vec<f32>);
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Self::Output {
                let mut keys = vec![f32::NAN; self.0.head_dim * BLOCK];
                let mut values = vec![f32::NAN; self.0.value_dim * BLOCK];
                self.0.keys(s, self.1, &mut keys);
                self.0.values(s, self.1, &mut values);
                (keys, values)
            }
        }
        for codec in Codec::ALL {
            let (store, _) = random(codec, 230, 64, 32);
            for level in crate::simd::Level::available() {
                for block in 0..store.len().div_ceil(BLOCK) {
                    let (keys, values) = crate::simd::dispatch_at(level, Decode(&store, block));
                    for offset in 0..BLOCK {
                        let slot = block * BLOCK + offset;
                        let (key, value) =
                            if slot < store.len() { read(&store, slot) } else { (vec![0.0; 64], vec![0.0; 32]) };
                        let column: Vec<f32> = (0..64).map(|channel| keys[channel * BLOCK + offset]).collect();
                        assert_eq!(column, key, "{codec:?} {level:?} key {slot}");
                        assert_eq!(&values[offset * 32..][..32], &value[..], "{codec:?} {level:?} value {slot}");
                    }
                }
            }
        }
    }

    #[test]
    fn compact_keeps_pairs_and_positions_in_order() {
        let (mut store, _) = random(Codec::F16, 100, 16, 16);
        let keep: Vec<u32> = (0..100).filter(|slot| slot % 3 == 1).collect();
        let expected: Vec<_> = keep.iter().map(|&slot| read(&store, slot as usize)).collect();
        store.compact(&keep);
        assert_eq!(store.len(), keep.len());
        assert_eq!(store.positions(), keep.iter().map(|&slot| slot as i32 * 2).collect::<Vec<_>>());
        assert_eq!((0..store.len()).map(|slot| read(&store, slot)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_fork_does_not_see_later_writes() {
        let (mut store, pairs) = random(Codec::F32, 40, 16, 16);
        let fork = store.clone();
        store.truncate(35);
        store.append(&[9.0; 16], &[9.0; 16], 99);
        assert_eq!(read(&fork, 35), pairs[35]);
        assert_eq!(read(&store, 35), (vec![9.0; 16], vec![9.0; 16]));
        assert_eq!(store.len(), 36);
    }

    #[test]
    fn float_bytes_are_exact() {
        let (store, _) = random(Codec::F16, 33, 64, 64);
        let bytes = store.bytes();
        assert_eq!(bytes.pairs, 33 * 128 * 2);
        assert_eq!(bytes.waste, 31 * 128 * 2);
        assert_eq!(bytes.positions, 33 * 4);
        assert_eq!(bytes.scales, 0);
    }
}

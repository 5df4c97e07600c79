//! Some of the pairs of a store as a store of their own, for queries that read no others.

use std::sync::Arc;

use super::{KeyValues, PAGE};

impl KeyValues {
    /// The pairs of `pages` (ascending) among the first `slots` slots. The pages are shared, not copied.
    ///
    /// # Panics
    /// If a page but the last one is not full.
    pub fn of_pages(&self, pages: &[u32], slots: usize) -> Self {
        let slots = slots.min(self.slots);
        let mut chosen = Self { pages: Vec::with_capacity(pages.len()), ..self.like() };
        chosen.positions.reserve_exact(pages.len() * PAGE);
        for page in pages.iter().map(|&page| page as usize) {
            assert!(chosen.positions.len().is_multiple_of(PAGE), "page {page} follows one that is not full");
            let of_page = page * PAGE..((page + 1) * PAGE).min(slots);
            chosen.positions.extend(&self.positions[of_page]);
            chosen.pages.push(Arc::clone(&self.pages[page]));
            chosen.settled += usize::from(page < self.settled);
        }
        chosen.slots = chosen.positions.len();
        chosen
    }

    /// Copies of the pairs of `slots` (ascending); whole pages that stay in place are shared.
    pub fn gathered(&self, slots: &[u32]) -> Self {
        let in_place = slots.iter().enumerate().take_while(|(slot, kept)| *slot == **kept as usize).count();
        let shared = in_place / PAGE;
        let mut kept = Self {
            slots: shared * PAGE,
            pages: self.pages[..shared].to_vec(),
            settled: self.settled.min(shared),
            positions: self.positions[..shared * PAGE].to_vec(),
            ..self.like()
        };
        kept.gather(self, &slots[shared * PAGE..]);
        kept
    }

    /// Adds copies of the pairs of `slots` (ascending) of `from`, a store of the same form: bit for bit but for settled pages
    /// of KIVI, whose pairs become half-precision numbers.
    pub fn gather(&mut self, from: &Self, slots: &[u32]) {
        self.positions.extend(slots.iter().map(|&slot| from.positions[slot as usize]));
        // The last settled page a run came from, opened once for all its runs.
        let mut opened = None;
        let mut rest = slots;
        while let Some(&slot) = rest.first() {
            let (source, at) = (slot as usize / PAGE, slot as usize % PAGE);
            let to = self.slots % PAGE;
            let room = PAGE - at.max(to);
            let count = rest.iter().zip(slot..).take(room).take_while(|(kept, slot)| *kept == slot).count();
            if source < from.settled && opened.as_ref().is_none_or(|(index, _)| *index != source) {
                let mut page = from.pages[source].as_ref().clone();
                page.open(from.codec);
                opened = Some((source, page));
            }
            let page = match &opened {
                Some((index, page)) if *index == source => page,
                _ => &from.pages[source],
            };
            self.writable_page(to).copy(to, page, at, count);
            self.slots += count;
            rest = &rest[count..];
        }
    }

    /// An empty store of the same form.
    fn like(&self) -> Self {
        Self::new(self.codec, self.head_dim, self.value_dim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Codec;

    fn store(codec: Codec, slots: usize) -> KeyValues {
        let mut pairs = KeyValues::new(codec, 16, 16);
        for slot in 0..slots {
            let row: Vec<f32> = (0..16).map(|channel| ((slot * 16 + channel) as f32 * 0.37).sin()).collect();
            pairs.append(&row, &row.iter().map(|x| x - 0.5).collect::<Vec<_>>(), 3 * slot as i32);
        }
        pairs
    }

    fn pair(pairs: &KeyValues, slot: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut key, mut value) = (vec![0.0; 16], vec![0.0; 16]);
        pairs.read(slot, &mut key, &mut value);
        (key, value)
    }

    #[test]
    fn chosen_pages_are_the_pages_themselves() {
        for codec in Codec::ALL {
            let pairs = store(codec, 300);
            for (pages, slots, expected) in
                [(&[0u32, 3, 9][..], 300, 76), (&[0, 3, 9], 290, 66), (&[2, 4], 300, 64), (&[], 300, 0)]
            {
                let chosen = pairs.of_pages(pages, slots);
                assert_eq!(chosen.len(), expected, "{codec} {pages:?} of {slots}");
                for slot in 0..chosen.len() {
                    let from = pages[slot / PAGE] as usize * PAGE + slot % PAGE;
                    assert_eq!(pair(&chosen, slot), pair(&pairs, from), "{codec} {slot}");
                    assert_eq!(chosen.positions()[slot], 3 * from as i32);
                }
                assert!(chosen.pages.iter().zip(pages).all(|(a, b)| Arc::ptr_eq(a, &pairs.pages[*b as usize])));
            }
            let all: Vec<u32> = (0..10).collect();
            assert_eq!(pairs.of_pages(&all, 300).bytes().coded(), pairs.bytes().coded(), "{codec}");
        }
    }

    #[test]
    fn gathered_pairs_are_copies() {
        let chosen: Vec<u32> = (0..300).filter(|slot| *slot < 40 || slot % 7 < 3).collect();
        for codec in Codec::ALL {
            let pairs = store(codec, 300);
            let gathered = pairs.gathered(&chosen);
            assert_eq!(gathered.len(), chosen.len());
            for (slot, &from) in chosen.iter().enumerate() {
                let (found, expected) = (pair(&gathered, slot), pair(&pairs, from as usize));
                // Pages that KIVI has coded come back as halves of numbers between -1.5 and 1.
                let coded = codec.full_precision_window().is_some();
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= if coded { 1e-3 } else { 0.0 };
                assert!(found.0.iter().zip(&expected.0).all(near), "{codec} {from}");
                assert!(found.1.iter().zip(&expected.1).all(near), "{codec} {from}");
                assert_eq!(gathered.positions()[slot], 3 * from as i32);
            }
            let mut more = pairs.gathered(&chosen[..90]);
            more.truncate(77);
            more.gather(&pairs, &chosen[77..]);
            assert!((0..chosen.len()).all(|slot| pair(&more, slot) == pair(&gathered, slot)), "{codec}");
            assert_eq!(more.positions(), gathered.positions());
        }
    }
}

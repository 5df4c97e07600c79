//! A store as bytes, to be kept in a file: little-endian, all numbers in a fixed order.
//!
//! What is read fills a new store of the sizes that the reader names, so bytes of any origin make numbers that may be wrong, never a store
//! that is unsound.

use std::sync::Arc;

use super::keys::Keys;
use super::values::Values;
use super::{KeyValues, PAGE, Page};

/// A number of fixed size.
pub trait Number: Copy + Default {
    /// Bytes of one.
    const BYTES: usize;

    /// Appends the number to `out`.
    fn put(self, out: &mut Vec<u8>);

    /// The number that `bytes`, [`Number::BYTES`] of them, hold.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Number for $number {
            const BYTES: usize = size_of::<$number>();

            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                <[u8; size_of::<$number>()]>::try_from(bytes).map_or(Self::default(), Self::from_le_bytes)
            }
        }
    )+};
}
numbers!(u8, i8, u16, u32, i32, u64, f32);

/// Appends `numbers` to `out`.
pub fn put<T: Number>(out: &mut Vec<u8>, numbers: &[T]) {
    numbers.iter().for_each(|number| number.put(out));
}

/// Takes `count` numbers off the front of `bytes`, if there are as many.
pub fn take<T: Number>(bytes: &mut &[u8], count: usize) -> Option<Vec<T>> {
    let (numbers, rest) = bytes.split_at_checked(count.checked_mul(T::BYTES)?)?;
    *bytes = rest;
    Some(numbers.chunks_exact(T::BYTES).map(T::get).collect())
}

/// Appends `numbers` to `out`, after their count.
pub fn put_list<T: Number>(out: &mut Vec<u8>, numbers: &[T]) {
    put(out, &[numbers.len() as u64]);
    put(out, numbers);
}

/// Takes a list of at most `most` numbers off the front of `bytes`.
pub fn take_list<T: Number>(bytes: &mut &[u8], most: usize) -> Option<Vec<T>> {
    let count = take_count(bytes, most)?;
    take(bytes, count)
}

/// Takes a number of at most `most` off the front of `bytes`.
pub fn take_count(bytes: &mut &[u8], most: usize) -> Option<usize> {
    let count = usize::try_from(*take::<u64>(bytes, 1)?.first()?).ok()?;
    (count <= most).then_some(count)
}

/// Numbers that a page holds next to each other.
pub(super) enum Part<'a> {
    U8(&'a mut [u8]),
    I8(&'a mut [i8]),
    U16(&'a mut [u16]),
    F32(&'a mut [f32]),
}

impl Part<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(numbers) => put(out, numbers),
            Self::I8(numbers) => put(out, numbers),
            Self::U16(numbers) => put(out, numbers),
            Self::F32(numbers) => put(out, numbers),
        }
    }

    fn fill(self, bytes: &mut &[u8]) -> Option<()> {
        match self {
            Self::U8(numbers) => numbers.copy_from_slice(&take::<u8>(bytes, numbers.len())?),
            Self::I8(numbers) => numbers.copy_from_slice(&take::<i8>(bytes, numbers.len())?),
            Self::U16(numbers) => numbers.copy_from_slice(&take::<u16>(bytes, numbers.len())?),
            Self::F32(numbers) => numbers.copy_from_slice(&take::<f32>(bytes, numbers.len())?),
        }
        Some(())
    }
}

impl Page {
    /// Everything the page holds, in a fixed order.
    fn parts(&mut self) -> impl Iterator<Item = Part<'_>> {
        let keys = match &mut self.keys {
            Keys::Floats(floats) => vec![floats.part()],
            Keys::Int8(bytes) => bytes.parts().into(),
            Keys::Int4(groups) => groups.parts().into(),
            Keys::Kivi(groups) => groups.parts().into(),
        };
        let values = match &mut self.values {
            Values::Floats(floats) => vec![floats.part()],
            Values::Int8(bytes) => bytes.parts().into(),
            Values::Groups(groups) => groups.parts().into(),
        };
        keys.into_iter().chain(values)
    }
}

impl KeyValues {
    /// Appends everything that is held to `out`.
    pub fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.settled as u64]);
        put_list(out, &self.positions);
        for page in &self.pages {
            // Parts are handed out to be changed; a copy is, for a moment.
            Page::clone(page).parts().for_each(|part| part.put(out));
        }
    }

    /// Takes what [`KeyValues::save`] wrote off the front of `bytes`: pairs of a text of `tokens` tokens, as this empty store would hold
    /// them. `None` if `bytes` are something else.
    pub fn load(&self, bytes: &mut &[u8], tokens: usize) -> Option<Self> {
        let mut loaded = Self::new(self.codec, self.head_dim, self.value_dim);
        loaded.settled = take_count(bytes, usize::MAX)?;
        loaded.positions = take_list(bytes, tokens)?;
        loaded.slots = loaded.positions.len();
        let first = loaded.positions.first().is_none_or(|&first| first >= 0);
        let last = loaded.positions.last().is_none_or(|&last| (last as usize) < tokens);
        let most = if self.codec.full_precision_window().is_some() { loaded.slots / PAGE } else { 0 };
        if !first || !last || !loaded.positions.is_sorted_by(|a, b| a < b) || loaded.settled > most {
            return None;
        }
        for index in 0..loaded.slots.div_ceil(PAGE) {
            let mut page = Page::new(self.codec, self.head_dim, self.value_dim);
            if index < loaded.settled {
                page.settle(self.codec);
            }
            page.parts().try_for_each(|part| part.fill(bytes))?;
            loaded.pages.push(Arc::new(page));
        }
        Some(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Codec;

    fn store(codec: Codec, slots: usize) -> KeyValues {
        let mut store = KeyValues::new(codec, 48, 32);
        let number = |seed: usize| ((seed * 7919) % 1000) as f32 / 250.0 - 2.0;
        for slot in 0..slots {
            let key: Vec<f32> = (0..48).map(|channel| number(slot * 48 + channel)).collect();
            let value: Vec<f32> = (0..32).map(|channel| number(slot * 32 + channel + 5)).collect();
            store.append(&key, &value, (2 * slot) as i32);
        }
        store
    }

    #[test]
    fn what_is_read_is_what_was_written_and_goes_on_alike() {
        for codec in Codec::ALL {
            for slots in [0, 1, 31, 32, 33, 300] {
                let mut store = store(codec, slots);
                let mut bytes = Vec::new();
                store.save(&mut bytes);
                bytes.extend([1, 2, 3]);
                let mut rest = &bytes[..];
                let mut loaded = KeyValues::new(codec, 48, 32).load(&mut rest, 2 * slots).expect("a whole store");
                assert_eq!(rest, [1, 2, 3], "{codec:?}: nothing more is taken");
                assert_eq!((loaded.bytes(), loaded.positions()), (store.bytes(), store.positions()));
                for step in 0..70 {
                    let position = (2 * slots + step) as i32;
                    store.append(&[0.5; 48], &[step as f32; 32], position);
                    loaded.append(&[0.5; 48], &[step as f32; 32], position);
                }
                let read = |store: &KeyValues, slot| {
                    let (mut key, mut value) = (vec![0.0; 48], vec![0.0; 32]);
                    store.read(slot, &mut key, &mut value);
                    (key, value)
                };
                assert!((0..store.len()).all(|slot| read(&store, slot) == read(&loaded, slot)), "{codec:?}, {slots}");
            }
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for codec in Codec::ALL {
            let store = store(codec, 200);
            let mut bytes = Vec::new();
            store.save(&mut bytes);
            let empty = KeyValues::new(codec, 48, 32);
            let load = |bytes: &[u8], tokens| empty.load(&mut &*bytes, tokens).is_some();
            assert!(load(&bytes, 400) && load(&bytes, 399));
            assert!(!load(&bytes, 398), "a position beyond the text");
            assert!((0..bytes.len()).step_by(97).all(|length| !load(&bytes[..length], 400)), "a part of a store");
            let changed = |at: usize, byte: u8| {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                bytes
            };
            assert!(!load(&changed(0, 77), 400), "more settled pages than there are");
            assert!(!load(&changed(8 + 7, 255), 400), "more pairs than can be");
            assert!(!load(&changed(16 + 4, 0), 400), "a position twice");
            assert!(!load(&changed(16 + 3, 255), 400), "a negative position");
        }
    }
}

//! Blocks read where they are stored: what decoding with few query rows costs is to bring pages near the processor, so
//! nothing is written in between, and every step of a product asks for a piece of the next block.

use super::PAGE;
use super::floats::Floats;
use super::int8::Int8;
use super::keys::Keys;
use super::page::Page;
use super::values::Values;
use crate::attention::{BLOCK, Columns, StoredReader};
use crate::simd::float::{Bf16, F16, F32, Float};
use crate::simd::{LANES, Simd, prefetch};

// A block is two pages.
const _: () = assert!(BLOCK == 2 * PAGE);

impl Page {
    /// Hands a block of two full pages to `reader`, `next` being the pages it will want after them; false if their form has
    /// to be decoded.
    pub(super) fn stored<R: StoredReader>(block: [&Self; 2], next: [&Self; 2], reader: R) -> bool {
        let [a, b] = block;
        if !a.value_dim.is_multiple_of(LANES) {
            return false;
        }
        match (&a.keys, &b.keys, &a.values, &b.values) {
            (Keys::Floats(ka), Keys::Floats(kb), Values::Floats(va), Values::Floats(vb)) => {
                let next_keys = next.map(|page| if let Keys::Floats(keys) = &page.keys { keys } else { ka });
                let next_values = next.map(|page| if let Values::Floats(values) = &page.values { values } else { va });
                floats([ka, kb], next_keys, [va, vb], next_values, a.value_dim, reader)
            }
            (Keys::Int8(ka), Keys::Int8(kb), Values::Int8(va), Values::Int8(vb)) => {
                let next_keys = next.map(|page| if let Keys::Int8(keys) = &page.keys { keys } else { ka });
                let next_values = next.map(|page| if let Values::Int8(values) = &page.values { values } else { va });
                let keys = Int8Keys { pages: [ka, kb], next: next_keys };
                reader.read(keys, Int8Values { pages: [va, vb], next: next_values, width: a.value_dim });
                true
            }
            _ => false,
        }
    }
}

/// Reads a block of floats.
fn floats<R: StoredReader>(
    keys: [&Floats; 2],
    next_keys: [&Floats; 2],
    values: [&Floats; 2],
    next_values: [&Floats; 2],
    width: usize,
    reader: R,
) -> bool {
    macro_rules! read {
        ($form:ident, $float:ty) => {{
            let ([Floats::$form(ka), Floats::$form(kb)], [Floats::$form(va), Floats::$form(vb)]) = (keys, values)
            else {
                return false;
            };
            let next_keys = next_keys.map(|next| if let Floats::$form(next) = next { &next[..] } else { ka });
            let next_values = next_values.map(|next| if let Floats::$form(next) = next { &next[..] } else { va });
            let keys = FloatKeys::<$float> { pages: [ka, kb], next: next_keys };
            reader.read(keys, FloatValues::<$float> { pages: [va, vb], next: next_values, width });
            true
        }};
    }
    match keys[0] {
        Floats::F32(_) => read!(F32, F32),
        Floats::F16(_) => read!(F16, F16),
        Floats::Bf16(_) => read!(Bf16, Bf16),
    }
}

/// Keys of two pages, `[head_dim, PAGE]` each: a step is a channel.
#[derive(Clone, Copy)]
struct FloatKeys<'a, T: Float> {
    pages: [&'a [T::Stored]; 2],
    next: [&'a [T::Stored]; 2],
}

impl<T: Float> Columns for FloatKeys<'_, T> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let at = step * PAGE + vector * LANES % PAGE;
        // SAFETY: the page has `PAGE` keys of the channel.
        unsafe { T::load(s, self.pages[vector * LANES / PAGE], at) }
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        self.next.into_iter().for_each(|page| prefetch(page, step * PAGE, PAGE));
    }
}

/// Values of two pages, `[PAGE, width]` each: a step is a slot.
#[derive(Clone, Copy)]
struct FloatValues<'a, T: Float> {
    pages: [&'a [T::Stored]; 2],
    next: [&'a [T::Stored]; 2],
    width: usize,
}

impl<T: Float> Columns for FloatValues<'_, T> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let at = step % PAGE * self.width + vector * LANES;
        // SAFETY: the page has a value of `width` numbers in the slot.
        unsafe { T::load(s, self.pages[step / PAGE], at) }
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        prefetch(self.next[step / PAGE], step % PAGE * self.width, self.width);
    }
}

/// Keys of two pages in signed bytes.
#[derive(Clone, Copy)]
struct Int8Keys<'a> {
    pages: [&'a Int8; 2],
    next: [&'a Int8; 2],
}

impl Columns for Int8Keys<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let (page, slot) = (self.pages[vector * LANES / PAGE], vector * LANES % PAGE);
        // SAFETY: the page has `PAGE` keys of the channel, and as many scales.
        unsafe { s.mul(s.load_i8(page.codes(), step * PAGE + slot), s.load(page.scales(), slot)) }
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        self.next.into_iter().for_each(|page| prefetch(page.codes(), step * PAGE, PAGE));
    }
}

/// Values of two pages in signed bytes.
#[derive(Clone, Copy)]
struct Int8Values<'a> {
    pages: [&'a Int8; 2],
    next: [&'a Int8; 2],
    width: usize,
}

impl Columns for Int8Values<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let (page, slot) = (self.pages[step / PAGE], step % PAGE);
        // SAFETY: the page has a value of `width` codes in the slot.
        let codes = unsafe { s.load_i8(page.codes(), slot * self.width + vector * LANES) };
        s.mul(codes, s.splat(page.scales()[slot]))
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        prefetch(self.next[step / PAGE].codes(), step % PAGE * self.width, self.width);
    }
}

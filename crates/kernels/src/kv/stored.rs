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
    /// to be decoded, or the keys and values have not `widths` channels.
    pub(super) fn stored<R: StoredReader>(block: [&Self; 2], next: [&Self; 2], widths: [usize; 2], reader: R) -> bool {
        if block.iter().any(|page| page.widths() != widths) || !widths[1].is_multiple_of(LANES) {
            return false;
        }
        macro_rules! floats {
            ($form:ident) => {
                read(block, next, reader, |page| match (&page.keys, &page.values) {
                    (Keys::Floats(Floats::$form(keys)), Values::Floats(Floats::$form(values))) => {
                        Some([FloatForm::<$form>(keys), FloatForm(values)])
                    }
                    _ => None,
                })
            };
        }
        match &block[0].keys {
            Keys::Floats(Floats::F32(_)) => floats!(F32),
            Keys::Floats(Floats::F16(_)) => floats!(F16),
            Keys::Floats(Floats::Bf16(_)) => floats!(Bf16),
            Keys::Int8(_) => read(block, next, reader, |page| match (&page.keys, &page.values) {
                (Keys::Int8(keys), Values::Int8(values)) => Some([keys, values]),
                _ => None,
            }),
            Keys::Int4(_) | Keys::Kivi(_) => false,
        }
    }
}

/// Reads a block whose keys and values both have the form `F`; `form` finds them in a page.
fn read<'a, F: Form, R: StoredReader>(
    block: [&'a Page; 2],
    next: [&'a Page; 2],
    reader: R,
    form: impl Fn(&'a Page) -> Option<[F; 2]>,
) -> bool {
    let [Some(a), Some(b)] = block.map(&form) else { return false };
    let [c, d] = next.map(|page| form(page).unwrap_or(a));
    let width = block[0].value_dim;
    let keys = StoredKeys { pages: [a[0], b[0]], next: [c[0], d[0]] };
    // SAFETY: both pages are full, and `Page::stored` has compared their widths.
    unsafe { reader.read(keys, StoredValues { pages: [a[1], b[1]], next: [c[1], d[1]], width }) };
    true
}

/// Keys or values of a page in a form that can be read directly.
trait Form: Copy {
    /// Sixteen numbers from `at` on, of the slots from `slot` on.
    ///
    /// # Safety
    /// The numbers and slots must exist.
    unsafe fn of_slots<S: Simd>(self, s: S, at: usize, slot: usize) -> S::F;
    /// Sixteen numbers from `at` on, all of `slot`.
    ///
    /// # Safety
    /// The numbers and the slot must exist.
    unsafe fn of_slot<S: Simd>(self, s: S, at: usize, slot: usize) -> S::F;
    /// Asks for `count` numbers from `at` on.
    fn prefetch(self, at: usize, count: usize);
}

/// Numbers in a float format.
#[derive(Clone, Copy)]
struct FloatForm<'a, T: Float>(&'a [T::Stored]);

impl<T: Float> Form for FloatForm<'_, T> {
    #[inline(always)]
    unsafe fn of_slots<S: Simd>(self, s: S, at: usize, _slot: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { T::load(s, self.0, at) }
    }

    #[inline(always)]
    unsafe fn of_slot<S: Simd>(self, s: S, at: usize, _slot: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { T::load(s, self.0, at) }
    }

    #[inline(always)]
    fn prefetch(self, at: usize, count: usize) {
        prefetch(self.0, at, count);
    }
}

impl Form for &Int8 {
    #[inline(always)]
    unsafe fn of_slots<S: Simd>(self, s: S, at: usize, slot: usize) -> S::F {
        // SAFETY: the caller's promise; every slot has a scale.
        unsafe { s.mul(s.load_i8(self.codes(), at), s.load(self.scales(), slot)) }
    }

    #[inline(always)]
    unsafe fn of_slot<S: Simd>(self, s: S, at: usize, slot: usize) -> S::F {
        // SAFETY: the caller's promise.
        s.mul(unsafe { s.load_i8(self.codes(), at) }, s.splat(self.scales()[slot]))
    }

    #[inline(always)]
    fn prefetch(self, at: usize, count: usize) {
        prefetch(self.codes(), at, count);
    }
}

/// Keys of two pages, `[head_dim, PAGE]` each: a step is a channel.
#[derive(Clone, Copy)]
struct StoredKeys<F> {
    pages: [F; 2],
    next: [F; 2],
}

impl<F: Form> Columns for StoredKeys<F> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let (page, slot) = (self.pages[vector * LANES / PAGE], vector * LANES % PAGE);
        // SAFETY: the page has `PAGE` keys of the channel.
        unsafe { page.of_slots(s, step * PAGE + slot, slot) }
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        self.next.into_iter().for_each(|page| page.prefetch(step * PAGE, PAGE));
    }
}

/// Values of two pages, `[PAGE, width]` each: a step is a slot.
#[derive(Clone, Copy)]
struct StoredValues<F> {
    pages: [F; 2],
    next: [F; 2],
    width: usize,
}

impl<F: Form> Columns for StoredValues<F> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let slot = step % PAGE;
        // SAFETY: the page has a value of `width` numbers in the slot.
        unsafe { self.pages[step / PAGE].of_slot(s, slot * self.width + vector * LANES, slot) }
    }

    #[inline(always)]
    fn ahead(self, step: usize) {
        self.next[step / PAGE].prefetch(step % PAGE * self.width, self.width);
    }
}

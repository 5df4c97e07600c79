//! Blocks read where they are stored: what decoding with few query rows costs is to bring pages near the processor, so
//! nothing is written in between, and every step of a product asks for a piece of the next block.

mod groups;

use super::PAGE;
use super::floats::Floats;
use super::int8::Int8;
use super::keys::Keys;
use super::page::Page;
use super::values::Values;
use crate::attention::{BLOCK, Columns, StoredReader};
use crate::simd::float::{Bf16, F16, F32, Float};
use crate::simd::{LANES, Simd, check, prefetch};
use groups::{KeysInGroups, RowsInGroups};

pub(super) use groups::Tables;

// A block is two pages.
const _: () = assert!(BLOCK == 2 * PAGE);

impl Page {
    /// Hands a block of two pages to `reader`, `next` being the pages it will want after them; false if their form has
    /// to be decoded, or the keys and values have not `widths` channels. Slots that are not in use hold anything.
    pub(super) fn stored<'a, R: StoredReader>(
        block: [&'a Self; 2],
        next: [&'a Self; 2],
        widths: [usize; 2],
        reader: R,
    ) -> bool {
        let width = widths[1];
        if block.iter().any(|page| page.widths() != widths) || !width.is_multiple_of(LANES) {
            return false;
        }
        /// Looks in a page for keys and values of one form.
        macro_rules! find {
            ($keys:pat, $values:pat => $found:expr) => {
                |page: &'a Self| match (&page.keys, &page.values) {
                    ($keys, $values) => Some($found),
                    _ => None,
                }
            };
        }
        macro_rules! floats {
            ($form:ident) => {{
                let find =
                    find!(Keys::Floats(Floats::$form(keys)), Values::Floats(Floats::$form(values)) => (keys, values));
                read(block, next, reader, find, |_, page, next| {
                    let keys = Numbers::<$form> { data: page.0, next: next.0, width: PAGE };
                    (keys, Numbers::<$form> { data: page.1, next: next.1, width })
                })
            }};
        }
        macro_rules! groups {
            ($form:ident, $keys:ty, $bits:literal) => {{
                let find = find!(Keys::$form(keys), Values::Groups(values) => (keys, values));
                let mut tables = [const { [Tables::EMPTY, Tables::EMPTY] }; 2];
                let fits = block.iter().zip(&mut tables).all(|(page, [of_keys, of_values])| {
                    find(page).is_some_and(|(keys, values)| keys.scales().fill(of_keys) && values.scales().fill(of_values))
                });
                fits && read(block, next, reader, find, |index, page, next| {
                    next.0.scales().prefetch();
                    next.1.scales().prefetch();
                    let [of_keys, of_values] = &tables[index];
                    let values = RowsInGroups::<$bits>::new(page.1, of_values, next.1);
                    (<$keys>::new(page.0, of_keys, next.0), values)
                })
            }};
        }
        match &block[0].keys {
            Keys::Floats(Floats::F32(_)) => floats!(F32),
            Keys::Floats(Floats::F16(_)) => floats!(F16),
            Keys::Floats(Floats::Bf16(_)) => floats!(Bf16),
            Keys::Int8(_) => {
                let find = find!(Keys::Int8(keys), Values::Int8(values) => (keys, values));
                read(block, next, reader, find, |_, page, next| {
                    next.0.prefetch_scales();
                    next.1.prefetch_scales();
                    (KeyCodes { page: page.0, next: next.0 }, ValueCodes { page: page.1, next: next.1, width })
                })
            }
            Keys::Int4(_) => groups!(Int4, KeysInGroups<'_>, 4),
            Keys::Kivi(groups) if groups.bits() == 4 => groups!(Kivi, RowsInGroups<'_, 4>, 4),
            Keys::Kivi(_) => groups!(Kivi, RowsInGroups<'_, 2>, 2),
        }
    }
}

/// Reads a block whose pages both have the form that `find` looks for; `columns(index, page, next)` makes of it what the keys
/// and the values of a page are read through.
fn read<'a, P: Copy, K: Columns, V: Columns>(
    block: [&'a Page; 2],
    next: [&'a Page; 2],
    reader: impl StoredReader,
    find: impl Fn(&'a Page) -> Option<P>,
    columns: impl Fn(usize, P, P) -> (K, V),
) -> bool {
    let [Some(a), Some(b)] = block.map(&find) else { return false };
    let [c, d] = next.map(|page| find(page).unwrap_or(a));
    let ((left, first), (right, second)) = (columns(0, a, c), columns(1, b, d));
    // SAFETY: pages have all their slots from the start, and `Page::stored` has compared their widths.
    unsafe { reader.read(Beside { left, right }, [first, second]) };
    true
}

/// The keys of two pages: `PAGE` columns of one and `PAGE` of the other.
#[derive(Clone, Copy)]
struct Beside<K> {
    left: K,
    right: K,
}

/// Vectors of a page's keys.
const HALF: usize = PAGE / LANES;

impl<K: Columns> Columns for Beside<K> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: either page has `HALF` vectors in every step.
        unsafe { if vector < HALF { self.left.load(s, step, vector) } else { self.right.load(s, step, vector - HALF) } }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, count: usize) {
        if vector < HALF {
            self.left.ahead(step, vector, count.min(HALF));
        }
        if vector + count > HALF {
            self.right.ahead(step, vector.saturating_sub(HALF), count.min(HALF));
        }
    }
}

/// Rows of `width` numbers in a float format: a step is a row.
#[derive(Clone, Copy)]
struct Numbers<'a, T: Float> {
    data: &'a [T::Stored],
    next: &'a [T::Stored],
    width: usize,
}

impl<T: Float> Columns for Numbers<'_, T> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: the caller keeps to vectors that exist.
        unsafe { T::load(s, self.data, step * self.width + vector * LANES) }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, count: usize) {
        prefetch(self.next, step * self.width + vector * LANES, count * LANES);
    }
}

/// Keys as bytes, `[head_dim, PAGE]`: a step is a channel, a column a slot.
#[derive(Clone, Copy)]
struct KeyCodes<'a> {
    page: &'a Int8,
    next: &'a Int8,
}

impl Columns for KeyCodes<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: the caller keeps to vectors that exist; every slot has a scale.
        unsafe {
            let codes = s.load_i8(self.page.codes(), step * PAGE + vector * LANES);
            s.mul(codes, s.load(self.page.scales(), vector * LANES))
        }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, count: usize) {
        prefetch(self.next.codes(), step * PAGE + vector * LANES, count * LANES);
    }
}

/// Values as bytes, `[PAGE, width]`: a step is a slot, a column a channel.
#[derive(Clone, Copy)]
struct ValueCodes<'a> {
    page: &'a Int8,
    next: &'a Int8,
    width: usize,
}

impl Columns for ValueCodes<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: the caller keeps to vectors that exist; every slot has a scale.
        unsafe {
            let codes = s.load_i8(self.page.codes(), step * self.width + vector * LANES);
            s.mul(codes, s.splat(one(self.page.scales(), step)))
        }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, count: usize) {
        prefetch(self.next.codes(), step * self.width + vector * LANES, count * LANES);
    }
}

/// One element, checked only under `--cfg checked`.
///
/// # Safety
/// It must exist.
#[inline(always)]
unsafe fn one(data: &[f32], at: usize) -> f32 {
    check(at, 1, data.len());
    // SAFETY: the caller's promise.
    unsafe { *data.get_unchecked(at) }
}

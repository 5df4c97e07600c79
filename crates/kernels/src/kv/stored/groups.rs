//! Pages of `int4` and KIVI read where they are stored: only scales and minima are decoded before, once for a page.

use super::one;
use crate::attention::Columns;
use crate::kv::PAGE;
use crate::kv::column_groups::ColumnGroups;
use crate::kv::grid::GROUP;
use crate::kv::row_groups::RowGroups;
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Groups of a page's keys or values that are read in place: enough for 128 channels.
const GROUPS: usize = 128;

/// Scales and minima in single precision.
pub(in crate::kv) struct Tables {
    scales: [f32; GROUPS],
    minima: [f32; GROUPS],
}

impl Tables {
    /// Zeros.
    pub const EMPTY: Self = Self { scales: [0.0; GROUPS], minima: [0.0; GROUPS] };

    /// Decodes half-precision scales and as many minima; false if there are too many.
    pub fn fill(&mut self, scales: &[u16], minima: &[u16]) -> bool {
        let fits = scales.len().max(minima.len()) <= GROUPS;
        if fits {
            dispatch(Singles { halves: scales, singles: &mut self.scales });
            dispatch(Singles { halves: minima, singles: &mut self.minima });
        }
        fits
    }
}

/// Half-precision numbers in single precision.
struct Singles<'a> {
    halves: &'a [u16],
    singles: &'a mut [f32],
}

impl Kernel for Singles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.halves.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            // SAFETY: sixteen halves from `at` on exist, and `singles` is at least as long.
            unsafe { s.store(self.singles, at, s.load_f16(self.halves, at)) };
        }
        for (half, single) in self.halves[whole..].iter().zip(&mut self.singles[whole..]) {
            *single = half::f16::from_bits(*half).to_f32();
        }
    }
}

/// Rows coded in groups along the row, with codes of `BITS` bits: a step is a row. Values, and keys of KIVI.
#[derive(Clone, Copy)]
pub(super) struct RowsInGroups<'a, const BITS: usize> {
    codes: &'a [u8],
    next: &'a [u8],
    tables: &'a Tables,
    row_bytes: usize,
    /// Groups of a row.
    groups: usize,
}

impl<'a, const BITS: usize> RowsInGroups<'a, BITS> {
    pub fn new(page: &'a RowGroups, tables: &'a Tables, next: &'a RowGroups) -> Self {
        let (codes, next) = (page.codes(), next.codes());
        assert_eq!((codes.bits(), next.bits()), (BITS, BITS), "bits of a code");
        let row_bytes = codes.row_bytes();
        Self { codes: codes.data(), next: next.data(), tables, row_bytes, groups: page.groups() }
    }
}

impl<const BITS: usize> Columns for RowsInGroups<'_, BITS> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let group = step * self.groups + vector * LANES / GROUP;
        let at = step * self.row_bytes + vector * LANES * BITS / 8;
        let codes = s.from_array(if BITS == 4 {
            [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.]
        } else {
            [0., 1., 2., 3., 0., 1., 2., 3., 0., 1., 2., 3., 0., 1., 2., 3.]
        });
        // SAFETY: the caller keeps to vectors that exist, and every group has a scale and a minimum.
        unsafe {
            let (scale, minimum) = (one(&self.tables.scales, group), one(&self.tables.minima, group));
            // All numbers that the group can hold, of which its codes choose.
            let levels = s.add(s.mul(codes, s.splat(scale)), s.splat(minimum));
            if BITS == 4 { s.lookup_u4(self.codes, at, levels) } else { s.lookup_u2(self.codes, at, levels) }
        }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, _count: usize) {
        if vector == 0 {
            prefetch(self.next, step * self.row_bytes, 1);
        }
    }
}

/// Keys of `int4`, coded in groups of channels of a slot: a step is a channel.
#[derive(Clone, Copy)]
pub(super) struct KeysInGroups<'a> {
    codes: &'a [u8],
    next: &'a [u8],
    tables: &'a Tables,
}

impl<'a> KeysInGroups<'a> {
    /// Bytes of the codes of a channel.
    const ROW: usize = PAGE / 2;

    pub fn new(page: &'a ColumnGroups, tables: &'a Tables, next: &'a ColumnGroups) -> Self {
        let (codes, next) = (page.codes(), next.codes());
        assert_eq!((codes.row_bytes(), next.row_bytes()), (Self::ROW, Self::ROW), "bytes of a channel");
        Self { codes: codes.data(), next: next.data(), tables }
    }
}

impl Columns for KeysInGroups<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        let slots = step / GROUP * PAGE + vector * LANES;
        // SAFETY: the caller keeps to vectors that exist; every group of channels has `PAGE` scales and minima.
        unsafe {
            let codes = s.load_u4(self.codes, step * Self::ROW + vector * LANES / 2);
            s.add(s.mul(codes, s.load(&self.tables.scales, slots)), s.load(&self.tables.minima, slots))
        }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, _count: usize) {
        if vector == 0 {
            prefetch(self.next, step * Self::ROW, 1);
        }
    }
}

//! A slice that several workers write at the same time, each its own elements.

use std::marker::PhantomData;

use crate::simd::check;

/// A mutable slice shared by workers that each write different ranges of it.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `range`, whose caller promises that no two ranges in use overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Shares `slice` until the value is dropped.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// The elements `at..at + length`.
    ///
    /// # Safety
    /// The range must lie inside the slice and overlap no other range that is in use.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, at: usize, length: usize) -> &mut [T] {
        check(at, length, self.length);
        // SAFETY: the range is inside the slice, which outlives `self`, and the caller uses it alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), length) }
    }
}

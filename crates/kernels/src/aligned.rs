//! Memory that starts at a cache line, so that a 64-byte load never touches two.

use std::marker::PhantomData;

/// Bytes of a cache line.
const LINE: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Number types for which every bit pattern is a value.
///
/// # Safety
/// Implement it only for such types, with a size that divides 64.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: every bit pattern is a value, and 1, 2 and 4 divide 64.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// A fixed number of values, zero at first, aligned to 64 bytes.
pub(crate) struct Aligned<T: Plain> {
    lines: Vec<Line>,
    length: usize,
    values: PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    /// No values.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), length: 0, values: PhantomData }
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let lines = (length * size_of::<T>()).div_ceil(LINE);
        Self { lines: vec![Line([0; LINE]); lines], length, values: PhantomData }
    }

    /// The values.
    #[inline(always)]
    pub fn values(&self) -> &[T] {
        // SAFETY: the lines hold at least `length` values of a type for which every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }

    /// The values, to write.
    pub fn values_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `values`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }

    /// Exactly `length` values to write; what they are is unspecified. Memory is only ever added.
    pub fn resized(&mut self, length: usize) -> &mut [T] {
        let lines = (length * size_of::<T>()).div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; LINE]));
        }
        self.length = length;
        self.values_mut()
    }

    /// The memory of the values.
    pub fn memory(&self) -> &[u8] {
        // SAFETY: the lines hold at least `bytes` bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes()) }
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }
}

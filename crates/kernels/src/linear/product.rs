//! The register tile of [`crate::product`] as one function for each instruction set: a chunk has a dozen products, and a copy of the
//! tile for each of them would be slow to compile and to fetch.

use crate::product::{self, Factors, Size, Start, Vectors};
use crate::simd::{Kernel, Simd, dispatch_at};

/// Multiplies; the rows of `out` are `stride` apart.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    _: S,
    size: Size,
    a: Factors<'_>,
    b: Vectors<'_>,
    start: Start<'_>,
    out: &mut [f32],
    stride: usize,
) {
    dispatch_at(S::LEVEL, Multiply { size, a, b, start, out, stride });
}

struct Multiply<'a> {
    size: Size,
    a: Factors<'a>,
    b: Vectors<'a>,
    start: Start<'a>,
    out: &'a mut [f32],
    stride: usize,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { size, a, b, start, out, stride } = self;
        product::multiply(s, size, a, b, start, out, stride);
    }
}

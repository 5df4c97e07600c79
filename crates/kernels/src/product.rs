//! The matrix product of attention and of [`gemm`](crate::gemm): `C = A · B`, `C += A · B` or `C = diag(r) C + A · B` on tiles that
//! live in registers.
//!
//! `A` is read one factor at a time and broadcast, `B` by vectors. Each element of `C` is a sequential chain of fused
//! multiply-adds over the steps, so it does not depend on how rows and columns are cut into tiles.

use crate::simd::{LANES, Level, Simd, check};

/// Rows that a full register tile holds; with four vectors of columns that is 24 of the 32 AVX-512 registers.
pub(crate) const ROWS: usize = 6;

/// The factors: element `(row, step)` is at `row · row_stride + step · step_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub step_stride: usize,
}

/// What a product reads: in every step, vectors of sixteen columns.
pub trait Columns: Copy {
    /// Vector `vector` of step `step`.
    ///
    /// # Safety
    /// The vector must exist.
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F;
    /// Called once in every step for every vector, `count` of them at a time: asks for what is needed after this product.
    #[inline(always)]
    fn ahead(self, _step: usize, _vector: usize, _count: usize) {}
}

/// The vectors: those of a step start at `step · stride`; sixteen lanes of each must be readable.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

impl Columns for Vectors<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: the caller keeps to vectors that exist.
        unsafe { s.load(self.data, step * self.stride + vector * LANES) }
    }
}

/// What a row of the result starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Zero.
    Zero,
    /// What is there.
    Keep,
    /// What is there times the row's factor.
    Scale(&'a [f32]),
}

/// Where the result goes: vectors of sixteen columns of rows.
pub(crate) trait Output {
    /// The sixteen columns from `column` of `row`.
    ///
    /// # Safety
    /// They must exist.
    unsafe fn load<S: Simd>(&self, s: S, row: usize, column: usize) -> S::F;
    /// Writes the sixteen columns from `column` of `row`.
    ///
    /// # Safety
    /// They must exist.
    unsafe fn store<S: Simd>(&mut self, s: S, row: usize, column: usize, vector: S::F);
}

/// Rows in a slice.
struct Lines<'a> {
    data: &'a mut [f32],
    stride: usize,
}

impl Output for Lines<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: usize, column: usize) -> S::F {
        // SAFETY: the caller keeps to columns that exist.
        unsafe { s.load(self.data, row * self.stride + column) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&mut self, s: S, row: usize, column: usize, vector: S::F) {
        // SAFETY: the caller keeps to columns that exist.
        unsafe { s.store(self.data, row * self.stride + column, vector) }
    }
}

/// The size of a product: `rows` times `vectors` of sixteen columns, summed over `steps`.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub rows: usize,
    pub vectors: usize,
    pub steps: usize,
}

/// Multiplies; the rows of `out` are `out_stride` apart and `vectors · 16` long.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    s: S,
    size: Size,
    a: Factors<'_>,
    b: impl Columns,
    start: Start<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    multiply_to(s, size, a, b, start, &mut Lines { data: out, stride: out_stride });
}

/// Multiplies; `out` has `vectors · 16` columns.
#[inline(always)]
pub(crate) fn multiply_to<S: Simd>(
    s: S,
    size: Size,
    a: Factors<'_>,
    b: impl Columns,
    start: Start<'_>,
    out: &mut impl Output,
) {
    let mut row = 0;
    while row < size.rows {
        let strip = Strip { size, a, b, start, row };
        row += match size.rows - row {
            ROWS.. => strip.run::<S, 6>(s, out),
            4..ROWS => strip.run::<S, 4>(s, out),
            3 => strip.run::<S, 3>(s, out),
            _ => strip.run::<S, 1>(s, out),
        };
    }
}

/// Some rows of the product, over all its columns.
struct Strip<'a, B> {
    size: Size,
    a: Factors<'a>,
    b: B,
    start: Start<'a>,
    row: usize,
}

impl<B: Columns> Strip<'_, B> {
    /// Multiplies `R` rows; returns `R`.
    #[inline(always)]
    fn run<S: Simd, const R: usize>(&self, s: S, out: &mut impl Output) -> usize {
        let mut vector = 0;
        if matches!(S::LEVEL, Level::Avx512) {
            while vector + 4 <= self.size.vectors {
                self.tile::<S, R, 4>(s, vector, out);
                vector += 4;
            }
            if vector + 2 <= self.size.vectors {
                self.tile::<S, R, 2>(s, vector, out);
                vector += 2;
            }
        }
        while vector < self.size.vectors {
            self.tile::<S, R, 1>(s, vector, out);
            vector += 1;
        }
        R
    }

    /// Multiplies `R` rows and `C` vectors of columns from `first`, all in registers.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&self, s: S, first: usize, out: &mut impl Output) {
        let column = first * LANES;
        let mut sums = [[s.zero(); C]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            let row = self.row + r;
            let factor = match self.start {
                Start::Zero => continue,
                Start::Keep => None,
                Start::Scale(factors) => Some(s.splat(one(factors, row))),
            };
            for (c, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's `out` holds every row of the result.
                let kept = unsafe { out.load(s, row, column + c * LANES) };
                *sum = factor.map_or(kept, |factor| s.mul(kept, factor));
            }
        }
        for step in 0..self.size.steps {
            if self.row == 0 {
                self.b.ahead(step, first, C);
            }
            let mut vectors = [s.zero(); C];
            for (c, vector) in vectors.iter_mut().enumerate() {
                // SAFETY: the caller's vectors are readable in every step.
                *vector = unsafe { self.b.load(s, step, first + c) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let at = (self.row + r) * self.a.row_stride + step * self.a.step_stride;
                let factor = s.splat(one(self.a.data, at));
                for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                    *sum = s.fma(factor, vector, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                // SAFETY: as for the loads above.
                unsafe { out.store(s, self.row + r, column + c * LANES, sum) };
            }
        }
    }
}

/// One element, checked only under `--cfg checked`.
#[inline(always)]
fn one(data: &[f32], at: usize) -> f32 {
    check(at, 1, data.len());
    // SAFETY: `multiply` is called with factors for every row and step.
    unsafe { *data.get_unchecked(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, dispatch_at};

    struct Product<'a> {
        size: Size,
        a: Factors<'a>,
        b: Vectors<'a>,
        start: Start<'a>,
        out: &'a mut [f32],
    }

    impl Kernel for Product<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            multiply(s, self.size, self.a, self.b, self.start, self.out, self.size.vectors * LANES);
        }
    }

    #[test]
    fn every_tile_shape_multiplies() {
        for level in Level::available() {
            for (rows, vectors, steps) in [(1, 1, 1), (6, 4, 5), (7, 7, 3), (11, 2, 9), (4, 5, 0), (13, 3, 2)] {
                let size = Size { rows, vectors, steps };
                let columns = vectors * LANES;
                let a: Vec<f32> = (0..rows * steps).map(|i| (i % 7) as f32 - 3.0).collect();
                let b: Vec<f32> = (0..steps * columns).map(|i| (i % 11) as f32 - 5.0).collect();
                let factors: Vec<f32> = (0..rows).map(|row| row as f32).collect();
                let transposed: Vec<f32> = (0..rows * steps).map(|i| a[(i % rows) * steps + i / rows]).collect();
                let rows_first = Factors { data: &a, row_stride: steps, step_stride: 1 };
                let steps_first = Factors { data: &transposed, row_stride: 1, step_stride: rows };
                for (start, kept) in [(Start::Zero, 0.0), (Start::Keep, 1.0), (Start::Scale(&factors), 2.0)] {
                    for a_view in [rows_first, steps_first] {
                        let mut out: Vec<f32> = (0..rows * columns).map(|i| (i % 5) as f32).collect();
                        let before = out.clone();
                        let b = Vectors { data: &b, stride: columns };
                        dispatch_at(level, Product { size, a: a_view, b, start, out: &mut out });
                        for (i, &value) in out.iter().enumerate() {
                            let (row, column) = (i / columns, i % columns);
                            let product: f32 =
                                (0..steps).map(|k| a[row * steps + k] * b.data[k * columns + column]).sum();
                            let factor = if kept == 2.0 { factors[row] } else { kept };
                            assert_eq!(value, factor * before[i] + product, "{level:?} {rows} {vectors} {steps} {i}");
                        }
                    }
                }
            }
        }
    }
}

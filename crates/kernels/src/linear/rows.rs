//! Rows of a chunk in working memory, padded to whole vectors.

use crate::aligned::Aligned;
use crate::product::{Factors, Vectors};
use crate::simd::{LANES, Simd};

/// Rows of `width` elements, `stride` apart: `width` rounded up to whole vectors, zeros after the last element.
pub(super) struct Rows {
    data: Aligned<f32>,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Default for Rows {
    fn default() -> Self {
        Self { data: Aligned::new(), stride: 0 }
    }
}

impl Rows {
    /// Makes room for `rows` rows, rounded up to whole squares of vectors; what they hold is unspecified.
    pub fn resize(&mut self, rows: usize, width: usize) {
        self.stride = width.next_multiple_of(LANES);
        self.data.resized(rows.next_multiple_of(LANES) * self.stride);
    }

    /// Vectors of a row.
    pub fn vectors(&self) -> usize {
        self.stride / LANES
    }

    /// All elements.
    #[inline(always)]
    pub fn values(&self) -> &[f32] {
        self.data.values()
    }

    /// All elements, to write.
    #[inline(always)]
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.data.values_mut()
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data.values()[row * self.stride..][..self.stride]
    }

    /// One row, to write.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let stride = self.stride;
        &mut self.data.values_mut()[row * stride..][..stride]
    }

    /// Sets a row to `source` times `factor`, with zeros after it.
    #[inline(always)]
    pub fn set<S: Simd>(&mut self, s: S, row: usize, source: &[f32], factor: f32) {
        let factor = s.splat(factor);
        let row = self.row_mut(row);
        for at in (0..row.len()).step_by(LANES) {
            let vector = if at < source.len() { s.read(source, at, 0.0) } else { s.zero() };
            s.write(row, at, s.mul(vector, factor));
        }
    }

    /// Sets rows to zero.
    #[inline(always)]
    pub fn clear(&mut self, rows: std::ops::Range<usize>) {
        let stride = self.stride;
        self.data.values_mut()[rows.start * stride..rows.end * stride].fill(0.0);
    }

    /// The rows from `first` as factors: a row for each row of the result.
    #[inline(always)]
    pub fn factors(&self, first: usize) -> Factors<'_> {
        Factors { data: &self.values()[first * self.stride..], row_stride: self.stride, step_stride: 1 }
    }

    /// The rows from `first` as factors: a row for each step.
    #[inline(always)]
    pub fn factors_transposed(&self, first: usize) -> Factors<'_> {
        Factors { data: &self.values()[first * self.stride..], row_stride: 1, step_stride: self.stride }
    }

    /// The rows from `first` as vectors: a row for each step.
    #[inline(always)]
    pub fn vectors_from(&self, first: usize) -> Vectors<'_> {
        Vectors { data: &self.values()[first * self.stride..], stride: self.stride }
    }

    /// Makes these rows the transpose of the rows `of.start..of.end` of `other`, a number that is rounded up to whole vectors.
    #[inline(always)]
    pub fn transpose_of<S: Simd>(&mut self, s: S, other: &Rows, of: std::ops::Range<usize>) {
        self.resize(other.stride, of.len());
        for first in (0..self.stride).step_by(LANES) {
            for column in (0..other.stride).step_by(LANES) {
                let mut square = [s.zero(); LANES];
                for (i, line) in square.iter_mut().enumerate() {
                    *line = s.read(other.row(of.start + first + i), column, 0.0);
                }
                for (i, line) in s.transpose(square).into_iter().enumerate() {
                    s.write(self.row_mut(column + i), first, line);
                }
            }
        }
    }
}

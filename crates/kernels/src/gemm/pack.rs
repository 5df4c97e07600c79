//! Blocks of the operands, copied to where the register tile reads them in order.

use std::ops::Range;

use super::{Matrix, STEPS};
use crate::aligned::Aligned;
use crate::product::{Factors, ROWS as STRIP, Vectors};
use crate::simd::{Kernel, LANES, Level, Simd, dispatch_at, prefetch};

/// Columns of `B` that lie together.
pub(super) const PANEL: usize = 64;
/// Room after a strip for the lanes that its last step writes too much.
const PADDING: usize = 16;
/// How many rows ahead of those that are copied memory is asked for the next: each begins another page.
const AHEAD: usize = 4;

/// A block of `A`. Rows that lie in memory one after the other are read where they are, listed ones are copied; of a transposed
/// matrix, the rows of each strip are copied side by side: `[strip][step][6 rows]`.
pub(super) struct Left<'s> {
    values: &'s [f32],
    stride: usize,
    interleaved: bool,
}

impl<'s> Left<'s> {
    /// The block, copied if need be.
    #[inline(always)]
    pub fn pack<S: Simd>(
        s: S,
        a: Matrix<'s>,
        rows: Range<usize>,
        steps: Range<usize>,
        scratch: &'s mut Aligned<f32>,
    ) -> Self {
        if a.is_transposed() {
            return Self::interleave(s, a, rows, steps, scratch);
        }
        match a.stride() {
            Some(stride) => {
                Self { values: &a.values()[rows.start * stride + steps.start..], stride, interleaved: false }
            }
            None => {
                let stride = steps.len();
                let values = scratch.resized(rows.len() * stride);
                for (row, copy) in rows.zip(values.chunks_exact_mut(stride.max(1))) {
                    prefetch(a.values(), a.place(row + AHEAD) + steps.start, stride);
                    copy.copy_from_slice(&a.line(row)[steps.clone()]);
                }
                Self { values, stride, interleaved: false }
            }
        }
    }

    #[inline(always)]
    fn interleave<S: Simd>(
        s: S,
        a: Matrix<'_>,
        rows: Range<usize>,
        steps: Range<usize>,
        scratch: &'s mut Aligned<f32>,
    ) -> Self {
        let stride = steps.len() * STRIP + PADDING;
        let values = scratch.resized(rows.len().div_ceil(STRIP) * stride);
        for (at, step) in steps.enumerate() {
            let line = a.line(step);
            prefetch(a.values(), a.place(step + AHEAD) + rows.start, rows.len());
            for (strip, first) in rows.clone().step_by(STRIP).enumerate() {
                // Sixteen lanes at once; what is too much, the next step overwrites.
                s.write(values, strip * stride + at * STRIP, s.read(line, first, 0.0));
            }
        }
        Self { values, stride, interleaved: true }
    }

    /// The factors of the rows from `first`, a multiple of the rows of a strip.
    #[inline(always)]
    pub fn strip(&self, first: usize) -> Factors<'s> {
        if self.interleaved {
            let data = &self.values[first / STRIP * self.stride..];
            Factors { data, row_stride: 1, step_stride: STRIP }
        } else {
            Factors { data: &self.values[first * self.stride..], row_stride: self.stride, step_stride: 1 }
        }
    }
}

/// A block of `B`: `[panel][step][64 columns]`, with zeros after the last column.
pub(super) struct Right<'s> {
    values: &'s [f32],
    steps: usize,
}

impl<'s> Right<'s> {
    /// Numbers of a block.
    pub fn numbers(steps: usize, columns: usize) -> usize {
        steps * columns.next_multiple_of(PANEL)
    }

    /// Copies the steps of all columns to `values`, which has room for [`numbers`](Self::numbers).
    #[inline(always)]
    pub fn pack<S: Simd>(s: S, b: Matrix<'_>, steps: Range<usize>, values: &'s mut [f32]) -> Self {
        let columns = b.columns();
        let length = steps.len() * PANEL;
        if b.is_transposed() {
            for (panel, first) in values.chunks_exact_mut(length.max(1)).zip((0..columns).step_by(PANEL)) {
                transpose(s, b, steps.clone(), first..(first + PANEL).min(columns), panel);
            }
        } else {
            for (at, step) in steps.clone().enumerate() {
                let row = b.line(step);
                prefetch(b.values(), b.place(step + AHEAD), columns);
                for (panel, source) in row.chunks(PANEL).enumerate() {
                    for column in (0..PANEL).step_by(LANES) {
                        let vector = if column < source.len() { s.read(source, column, 0.0) } else { s.zero() };
                        s.write(values, panel * length + at * PANEL + column, vector);
                    }
                }
            }
        }
        Self { values, steps: steps.len() }
    }

    /// Panel `index`.
    #[inline(always)]
    pub fn panel(&self, index: usize) -> Vectors<'s> {
        let length = self.steps * PANEL;
        Vectors { data: &self.values[index * length..][..length], stride: PANEL }
    }
}

/// All blocks of a `B` that several products share.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'s> {
    values: &'s [f32],
    inner: usize,
    columns: usize,
}

impl<'s> Packed<'s> {
    /// Copies `b`.
    pub fn new(level: Level, b: Matrix<'_>, scratch: &'s mut Aligned<f32>) -> Self {
        let values = scratch.resized(Right::numbers(b.rows(), b.columns()));
        dispatch_at(level, Pack { b, values: &mut *values });
        Self { values, inner: b.rows(), columns: b.columns() }
    }

    /// The block of some steps, which must be one that products take.
    #[inline(always)]
    fn right(&self, steps: Range<usize>) -> Right<'s> {
        let place = |step| Right::numbers(step, self.columns);
        Right { values: &self.values[place(steps.start)..place(steps.end)], steps: steps.len() }
    }
}

/// Copies all blocks of `b`, one after the other.
struct Pack<'a> {
    b: Matrix<'a>,
    values: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { b, values } = self;
        for first in (0..b.rows()).step_by(STEPS) {
            let steps = first..(first + STEPS).min(b.rows());
            let place = |step| Right::numbers(step, b.columns());
            Right::pack(s, b, steps.clone(), &mut values[place(steps.start)..place(steps.end)]);
        }
    }
}

/// The second operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// As it lies.
    Matrix(Matrix<'a>),
    /// Copied already.
    Packed(Packed<'a>),
}

impl<'a> From<Matrix<'a>> for Operand<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::Matrix(matrix)
    }
}

impl<'a> From<Packed<'a>> for Operand<'a> {
    fn from(packed: Packed<'a>) -> Self {
        Self::Packed(packed)
    }
}

impl<'a> Operand<'a> {
    /// Rows and columns.
    #[inline(always)]
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Matrix(matrix) => [matrix.rows(), matrix.columns()],
            Self::Packed(packed) => [packed.inner, packed.columns],
        }
    }

    /// The block of some steps.
    #[inline(always)]
    pub(super) fn right<'s, S: Simd>(self, s: S, steps: Range<usize>, scratch: &'s mut Aligned<f32>) -> Right<'s>
    where
        'a: 's,
    {
        match self {
            Self::Matrix(b) => {
                Right::pack(s, b, steps.clone(), scratch.resized(Right::numbers(steps.len(), b.columns())))
            }
            Self::Packed(packed) => packed.right(steps),
        }
    }
}

/// Writes `panel` `[step][64]` from the columns of `b`, which lie in memory one after the other, sixteen by sixteen.
#[inline(always)]
fn transpose<S: Simd>(s: S, b: Matrix<'_>, steps: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
    for at in (0..PANEL).step_by(LANES) {
        for step in steps.clone().step_by(LANES) {
            let length = LANES.min(steps.end - step);
            let mut square = [s.zero(); LANES];
            for (column, line) in (columns.start + at..columns.end).zip(&mut square) {
                let source = &b.line(column)[step..step + length];
                *line = if length == LANES { s.read(source, 0, 0.0) } else { s.load_partial(source, 0.0) };
            }
            let square = s.transpose(square);
            for (line, vector) in square.into_iter().take(length).enumerate() {
                s.write(panel, (step - steps.start + line) * PANEL + at, vector);
            }
        }
    }
}

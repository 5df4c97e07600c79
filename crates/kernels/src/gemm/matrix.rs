//! Matrices as products read and write them: parts of larger ones, transposed, or with their rows taken from a list.

use std::ops::Range;

use crate::disjoint::Disjoint;

/// A matrix `[rows, columns]` in row-major order, or the transpose of one.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Elements from the start of a line, which is a row in memory, to that of the next.
    stride: usize,
    /// Which lines of the memory there are, if not all from the first on.
    listed: Option<&'a [u32]>,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `values` as `[rows, columns]`.
    ///
    /// # Panics
    /// If there are not `rows · columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "the values of [{rows}, {columns}]");
        Self { values, rows, columns, stride: columns, listed: None, transposed: false }
    }

    /// The same values as `[columns, rows]`: element `(i, j)` becomes `(j, i)`.
    pub fn transpose(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether columns, not rows, lie in memory one after the other.
    pub fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// Some rows and columns of the matrix, which must lie inside.
    pub(crate) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "[{rows:?}, {columns:?}] of {self:?}");
        let (lines, positions) =
            if self.transposed { (columns.clone(), rows.clone()) } else { (rows.clone(), columns.clone()) };
        let (listed, first) = match self.listed {
            Some(listed) => (Some(&listed[lines]), 0),
            None => (None, lines.start * self.stride),
        };
        let start = (first + positions.start).min(self.values.len());
        Self { values: &self.values[start..], rows: rows.len(), columns: columns.len(), listed, ..self }
    }

    /// The rows of this matrix that `rows` names, in its order. The matrix must be neither transposed nor listed.
    pub(crate) fn listed(self, rows: &'a [u32]) -> Self {
        assert!(!self.transposed && self.listed.is_none(), "rows are listed where they lie one after the other");
        Self { listed: Some(rows), rows: rows.len(), ..self }
    }

    /// Row `index` of a matrix that is not transposed.
    pub(crate) fn row(&self, index: usize) -> &'a [f32] {
        assert!(!self.transposed && index < self.rows, "row {index} of {self:?}");
        self.line(index)
    }

    /// Elements of a line.
    #[inline(always)]
    fn length(&self) -> usize {
        if self.transposed { self.rows } else { self.columns }
    }

    /// Line `index`: a row, or a column if the matrix is transposed.
    #[inline(always)]
    pub(super) fn line(&self, index: usize) -> &'a [f32] {
        &self.values[self.place(index)..][..self.length()]
    }

    /// Where line `index` begins, of lines that need not exist.
    #[inline(always)]
    pub(super) fn place(&self, index: usize) -> usize {
        match self.listed {
            Some(listed) => listed.get(index).map_or(0, |&line| line as usize * self.stride),
            None => index * self.stride,
        }
    }

    /// All values, from the first of the first line on.
    #[inline(always)]
    pub(super) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The distance of the lines, if it is the same for all.
    #[inline(always)]
    pub(super) fn stride(&self) -> Option<usize> {
        self.listed.is_none().then_some(self.stride)
    }

    /// All values, if they lie row by row without gaps.
    pub(super) fn contiguous(&self) -> Option<&'a [f32]> {
        let whole = !self.transposed && self.listed.is_none() && (self.stride == self.columns || self.rows < 2);
        whole.then(|| &self.values[..self.rows * self.columns])
    }
}

/// A block of a matrix that several workers write, each its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a, 'c> {
    /// The whole matrix.
    pub values: &'a Disjoint<'c, f32>,
    /// Its element that is the first of the block, counted from the start of the block's first row if rows are listed.
    pub first: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// The rows of the matrix that those of the block are, if they do not follow each other.
    pub rows: Option<&'a [u32]>,
}

impl Target<'_, '_> {
    /// The place of an element.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> usize {
        let row = self.rows.map_or(row, |rows| rows[row] as usize);
        self.first + row * self.stride + column
    }

    /// `width` elements of `row` from `column` on.
    ///
    /// # Safety
    /// They must lie inside the matrix and not be in use.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as of `Disjoint`")]
    pub unsafe fn range(&self, row: usize, column: usize, width: usize) -> &mut [f32] {
        // SAFETY: as the caller promises.
        unsafe { self.values.range(self.at(row, column), width) }
    }
}

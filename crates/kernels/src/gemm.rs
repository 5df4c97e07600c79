//! The product of two matrices of `f32`: `C = A B`, `C = A B + bias` or `C += A B`, of any size and with either operand transposed.
//!
//! It is what linear layers train with: `Y = X W + b`, `dX = dY Wᵀ`, `dW = Xᵀ dY`. The result is cut into parts that workers compute
//! alone. A part copies blocks of `B`, and of an `A` that is transposed, to where a register tile reads them in order, as in
//! Goto and van de Geijn 2008, doi:10.1145/1356052.1356053.
//!
//! An element is one chain of fused multiply-adds over the inner dimension, from the first to the last: its bits depend neither on the
//! number of threads nor on the other rows and columns.

mod pack;
mod schedule;
mod sums;

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::product::{Output, ROWS as STRIP, Size, Start, Vectors, multiply, multiply_to};
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};
use pack::{Left, PANEL, Right};
use schedule::{Cut, Part};
pub use sums::column_sums;

/// Steps of the inner dimension for which a panel of `B` stays in the first-level cache.
const STEPS: usize = 256;
/// Rows of `A` that stay in the second-level cache while all panels of `B` pass by; a multiple of the register tile's.
const ROWS: usize = 96;

/// A matrix `[rows, columns]` in row-major order, or the transpose of one.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `values` as `[rows, columns]`.
    ///
    /// # Panics
    /// If there are not `rows · columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "the values of [{rows}, {columns}]");
        Self { values, rows, columns, transposed: false }
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
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Plus<'a> {
    /// Nothing: `C = A B`.
    Nothing,
    /// A value for each column: `C = A B + bias`.
    Bias(&'a [f32]),
    /// What is there: `C += A B`.
    Existing,
}

/// `C = A B + plus`; `c` is `[A's rows, B's columns]` in row-major order.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn gemm(a: Matrix<'_>, b: Matrix<'_>, plus: Plus<'_>, c: &mut [f32]) {
    assert_eq!(a.columns, b.rows, "[{}, {}] times [{}, {}]", a.rows, a.columns, b.rows, b.columns);
    assert_eq!(c.len(), a.rows * b.columns, "the values of [{}, {}]", a.rows, b.columns);
    if let Plus::Bias(bias) = plus {
        assert_eq!(bias.len(), b.columns, "a bias for each column");
    }
    let _span = profile::span("matrix product, general").work(|| {
        let [rows, steps, columns] = [a.rows, a.columns, b.columns];
        let bytes = size_of::<f32>() * (rows * steps + steps * columns + rows * columns);
        Work { flops: 2.0 * (rows * steps) as f64 * columns as f64, bytes: bytes as f64 }
    });
    let cut = Cut::new(a.rows, a.columns, b.columns, parallel::threads());
    let c = Disjoint::new(c);
    parallel::parts(cut.parts(), |part| {
        let part = cut.part(part);
        SCRATCH.with_borrow_mut(|scratch| dispatch(Product { a, b, plus, part, c: &c, scratch }));
    });
}

thread_local! {
    /// Copied blocks; kept, because fresh memory would cost more than the copies.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { left: Aligned::new(), right: Aligned::new(), edge: Aligned::new() }) };
}

/// Where a worker keeps its blocks.
struct Scratch {
    /// A block of `A`, if it is transposed.
    left: Aligned<f32>,
    /// All panels of a block of `B`.
    right: Aligned<f32>,
    /// Results of a panel whose columns do not fill whole vectors.
    edge: Aligned<f32>,
}

/// One part of the result.
struct Product<'a, 'c> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    plus: Plus<'a>,
    part: Part,
    c: &'a Disjoint<'c, f32>,
    scratch: &'a mut Scratch,
}

impl Kernel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, plus, part, c, scratch } = self;
        let inner = a.columns;
        let mut first = 0;
        // Without steps there is one empty block, which writes what the product is added to.
        loop {
            let steps = (inner - first).min(STEPS);
            let right = Right::pack(s, b, first..first + steps, part.columns.clone(), &mut scratch.right);
            for row in part.rows.clone().step_by(ROWS) {
                let rows = row..(row + ROWS).min(part.rows.end);
                let left = Left::pack(s, a, rows.clone(), first..first + steps, &mut scratch.left);
                for (panel, column) in part.columns.clone().step_by(PANEL).enumerate() {
                    let width = PANEL.min(part.columns.end - column);
                    let block = Block { rows: rows.clone(), column, width, stride: b.columns, c };
                    let plus = if first == 0 { plus } else { Plus::Existing };
                    block.multiply(s, &left, right.panel(panel), steps, plus, &mut scratch.edge);
                }
            }
            first += steps;
            if first == inner {
                break;
            }
        }
    }
}

/// Some rows of one panel of the result.
struct Block<'a, 'c> {
    rows: Range<usize>,
    column: usize,
    width: usize,
    stride: usize,
    c: &'a Disjoint<'c, f32>,
}

impl Block<'_, '_> {
    /// Multiplies all rows of `a` with the panel `b`.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        s: S,
        a: &Left<'_>,
        b: Vectors<'_>,
        steps: usize,
        plus: Plus<'_>,
        edge: &mut Aligned<f32>,
    ) {
        let start = if matches!(plus, Plus::Nothing) { Start::Zero } else { Start::Keep };
        let vectors = self.width.div_ceil(LANES);
        for strip in (0..self.rows.len()).step_by(STRIP) {
            let rows = STRIP.min(self.rows.len() - strip);
            if let Plus::Bias(bias) = plus {
                let bias = &bias[self.column..][..self.width];
                (strip..strip + rows).for_each(|row| self.row(row).copy_from_slice(bias));
            }
            let (size, a) = (Size { rows, vectors, steps }, a.strip(strip));
            if self.width.is_multiple_of(LANES) {
                for next in strip + rows..(strip + 2 * rows).min(self.rows.len()) {
                    prefetch(self.row(next), 0, self.width);
                }
                let first = (self.rows.start + strip) * self.stride + self.column;
                multiply_to(s, size, a, b, start, &mut Owned { c: self.c, first, stride: self.stride });
            } else {
                let edge = edge.resized(STRIP * PANEL);
                for (row, edge) in (strip..strip + rows).zip(edge.chunks_exact_mut(PANEL)) {
                    edge[..self.width].copy_from_slice(self.row(row));
                }
                multiply(s, size, a, b, start, edge, PANEL);
                for (row, edge) in (strip..strip + rows).zip(edge.chunks_exact(PANEL)) {
                    self.row(row).copy_from_slice(&edge[..self.width]);
                }
            }
        }
    }

    /// The results of row `index` of the block.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as of `Disjoint`")]
    fn row(&self, index: usize) -> &mut [f32] {
        // SAFETY: a part owns its rows and columns of the result, which `gemm` has checked to hold them all; the slice is
        // dropped before the next one of the same row.
        unsafe { self.c.range((self.rows.start + index) * self.stride + self.column, self.width) }
    }
}

/// Rows of the result that one part owns, from the element `first`.
struct Owned<'a, 'c> {
    c: &'a Disjoint<'c, f32>,
    first: usize,
    stride: usize,
}

impl Output for Owned<'_, '_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: usize, column: usize) -> S::F {
        // SAFETY: the caller keeps to columns that exist, and the part owns them.
        unsafe { s.load(self.c.range(self.first + row * self.stride + column, LANES), 0) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&mut self, s: S, row: usize, column: usize, vector: S::F) {
        // SAFETY: as for `load`.
        unsafe { s.store(self.c.range(self.first + row * self.stride + column, LANES), 0, vector) }
    }
}

#[cfg(test)]
mod tests;

//! The product of two matrices of `f32`: `C = A B`, `C = A B + bias` or `C += A B`, of any size and with either operand transposed.
//!
//! It is what linear layers train with: `Y = X W + b`, `dX = dY Wᵀ`, `dW = Xᵀ dY`. The result is cut into parts that workers compute
//! alone. A part copies blocks of `B`, and of an `A` that is transposed, to where a register tile reads them in order, as in
//! Goto and van de Geijn 2008, doi:10.1145/1356052.1356053.
//!
//! An element is one chain of fused multiply-adds over the inner dimension, from the first to the last: its bits depend neither on the
//! number of threads nor on the other rows and columns.

mod matrix;
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
use crate::simd::{Kernel, LANES, Level, Simd, dispatch_at, prefetch};
pub use matrix::Matrix;
pub(crate) use matrix::Target;
use pack::{Left, PANEL, Right};
pub(crate) use pack::{Operand, Packed};
use schedule::Cut;
pub use sums::column_sums;

/// Steps of the inner dimension for which a panel of `B` stays in the first-level cache.
const STEPS: usize = 128;
/// Rows of `A` that stay in the second-level cache while all panels of `B` pass by; a multiple of the register tile's.
const ROWS: usize = 96;

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
    let [rows, inner, columns] = [a.rows(), a.columns(), b.columns()];
    assert_eq!(inner, b.rows(), "[{rows}, {inner}] times [{}, {columns}]", b.rows());
    assert_eq!(c.len(), rows * columns, "the values of [{rows}, {columns}]");
    if let Plus::Bias(bias) = plus {
        assert_eq!(bias.len(), columns, "a bias for each column");
    }
    let _span = profile::span("matrix product, general").work(|| {
        let bytes = size_of::<f32>() * (rows * inner + inner * columns + rows * columns);
        Work { flops: 2.0 * (rows * inner) as f64 * columns as f64, bytes: bytes as f64 }
    });
    let cut = Cut::new(rows, inner, columns, parallel::threads());
    let c = Disjoint::new(c);
    parallel::parts(cut.parts(), |part| {
        let part = cut.part(part);
        let first = part.rows.start * columns + part.columns.start;
        let plus = match plus {
            Plus::Bias(bias) => Plus::Bias(&bias[part.columns.clone()]),
            other => other,
        };
        let (a, b) = (a.block(part.rows, 0..inner), b.block(0..inner, part.columns));
        // SAFETY: every part of the result lies inside, as asserted above, and belongs to one worker.
        unsafe {
            block(Level::current(), a, b.into(), plus, Target { values: &c, first, stride: columns, rows: None })
        };
    });
}

/// `c = a b + plus` on this thread alone.
///
/// # Safety
/// The block `c` must have a's rows and b's columns, lie inside its matrix and be in nobody else's use.
pub(crate) unsafe fn block(level: Level, a: Matrix<'_>, b: Operand<'_>, plus: Plus<'_>, c: Target<'_, '_>) {
    SCRATCH.with_borrow_mut(|scratch| dispatch_at(level, Product { a, b, plus, c, scratch }));
}

/// Numbers that [`block`] copies at most, of a product of this size.
pub(crate) fn scratch_numbers(rows: usize, inner: usize, columns: usize) -> usize {
    let steps = inner.min(STEPS);
    Right::numbers(steps, columns) + steps * rows.min(ROWS).next_multiple_of(STRIP) + STRIP * PANEL
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

/// A product that one worker computes alone.
struct Product<'a, 'c> {
    a: Matrix<'a>,
    b: Operand<'a>,
    plus: Plus<'a>,
    c: Target<'a, 'c>,
    scratch: &'a mut Scratch,
}

impl Kernel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, plus, c, scratch } = self;
        let (all_rows, [inner, columns]) = (a.rows(), b.size());
        let mut first = 0;
        // Without steps there is one empty block, which writes what the product is added to.
        loop {
            let steps = (inner - first).min(STEPS);
            let right = b.right(s, first..first + steps, &mut scratch.right);
            for row in (0..all_rows).step_by(ROWS) {
                let rows = row..(row + ROWS).min(all_rows);
                let left = Left::pack(s, a, rows.clone(), first..first + steps, &mut scratch.left);
                for (panel, column) in (0..columns).step_by(PANEL).enumerate() {
                    let width = PANEL.min(columns - column);
                    let block = Block { rows: rows.clone(), column, width, c };
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
    c: Target<'a, 'c>,
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
                let mut out = Owned { c: self.c, row: self.rows.start + strip, column: self.column };
                multiply_to(s, size, a, b, start, &mut out);
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
        // SAFETY: the product owns its block, which holds all its rows and columns; the slice is dropped before the next one of
        // the same row.
        unsafe { self.c.range(self.rows.start + index, self.column, self.width) }
    }
}

/// What a strip of the block writes, from a row and a column on.
struct Owned<'a, 'c> {
    c: Target<'a, 'c>,
    row: usize,
    column: usize,
}

impl Output for Owned<'_, '_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: usize, column: usize) -> S::F {
        // SAFETY: the caller keeps to columns that exist, and the product owns them.
        unsafe { s.load(self.c.range(self.row + row, self.column + column, LANES), 0) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&mut self, s: S, row: usize, column: usize, vector: S::F) {
        // SAFETY: as for `load`.
        unsafe { s.store(self.c.range(self.row + row, self.column + column, LANES), 0, vector) }
    }
}

#[cfg(test)]
mod tests;

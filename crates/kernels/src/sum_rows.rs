//! Sums over the rows of a matrix, which do not depend on the number of threads.

use std::ops::Range;

use crate::parallel;
use crate::simd::{Simd, slices};

/// At most so many parts of the rows are summed on their own.
const PARTS: usize = 32;
/// Rows worth a part.
const ROWS: usize = 16;
/// Rows that are added together, so that the sums stay in registers.
pub(crate) const GROUP: usize = 4;

/// Adds up `columns` sums over `rows` rows.
///
/// `body(part, sums)` is called for every part of the rows, which are cut up by their number alone, and adds to sums that start
/// at zero; those of the parts are then added in order.
pub(crate) fn sum_rows(rows: usize, columns: usize, body: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Vec<f32> {
    let together = rows.div_ceil(PARTS).max(ROWS);
    let parts = rows.div_ceil(together).max(1);
    let mut sums = vec![0.0; parts * columns];
    parallel::pieces(&mut sums, columns, |part, sums| {
        let first = part * together;
        body(first..rows.min(first + together), sums);
    });
    let (totals, others) = sums.split_at_mut(columns);
    for part in others.chunks_exact(columns) {
        totals.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    sums.truncate(columns);
    sums
}

/// Adds rows as wide as `totals` to them, one row after another.
#[inline(always)]
pub(crate) fn add_rows<S: Simd>(s: S, rows: &[f32], totals: &mut [f32]) {
    let width = totals.len();
    for group in rows.chunks(GROUP * width) {
        if group.len() == GROUP * width {
            add_group::<S, GROUP>(s, group, totals);
        } else {
            group.chunks_exact(width).for_each(|row| add_group::<S, 1>(s, row, totals));
        }
    }
}

/// Adds `ROWS` rows.
#[inline(always)]
fn add_group<S: Simd, const ROWS: usize>(s: S, rows: &[f32], totals: &mut [f32]) {
    let width = totals.len();
    let rows: [[&[f32]; 1]; ROWS] = std::array::from_fn(|row| [&rows[row * width..][..width]]);
    slices::update(
        s,
        rows,
        [totals],
        #[inline(always)]
        |rows, [mut total]| {
            for [row] in rows {
                total = s.add(total, row);
            }
            [total]
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_summed_once() {
        for rows in [0, 1, 15, 16, 17, 100, 512, 513, 5000] {
            let sums = sum_rows(rows, 2, |part, sums| {
                for row in part {
                    sums[0] += 1.0;
                    sums[1] += (row % 7) as f32;
                }
            });
            assert_eq!(sums, [rows as f32, (0..rows).map(|row| (row % 7) as f32).sum()]);
        }
    }
}

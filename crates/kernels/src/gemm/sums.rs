//! Sums over the rows of a matrix: the gradient of a bias.

use super::Matrix;
use crate::profile::{self, Work};
use crate::simd::{Kernel, Simd, dispatch};
use crate::sum_rows::{add_rows, sum_rows};

/// `sums[j] = Σ_i x[i, j]`
///
/// # Panics
/// If `x` is transposed, or there is not a sum for each column.
pub fn column_sums(x: Matrix<'_>, sums: &mut [f32]) {
    let columns = x.columns();
    let values = x.contiguous().expect("sums over the rows of a matrix that lies in memory row by row");
    assert_eq!(sums.len(), columns, "a sum for each column");
    let _span = profile::span("column sums").work(|| Work::bytes(size_of_val(values)));
    if !sums.is_empty() {
        let totals = sum_rows(x.rows(), columns, |rows, sums| {
            let rows = &values[rows.start * columns..rows.end * columns];
            dispatch(Add { rows, sums });
        });
        sums.copy_from_slice(&totals);
    }
}

/// Adds rows to `sums`.
struct Add<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_rows(s, self.rows, self.sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_equal_their_definition() {
        for (rows, columns) in [(0, 5), (1, 1), (63, 17), (64, 16), (200, 100), (3, 0)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| (i % 13) as f32 - 6.0).collect();
            let mut sums = vec![1.0; columns];
            column_sums(Matrix::new(&values, rows, columns), &mut sums);
            let sum = |column| (0..rows).map(|row| values[row * columns + column]).sum();
            assert_eq!(sums, (0..columns).map(sum).collect::<Vec<f32>>());
        }
    }
}

//! Sums over the rows of a matrix: the gradient of a bias.

use super::Matrix;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Rows that are summed together before the sums of such blocks are: their number fixes the order of additions.
const ROWS: usize = 64;

/// `sums[j] = Σ_i x[i, j]`
///
/// # Panics
/// If `x` is transposed, or there is not a sum for each column.
pub fn column_sums(x: Matrix<'_>, sums: &mut [f32]) {
    assert!(!x.transposed, "sums over the rows of a matrix that lies in memory row by row");
    assert_eq!(sums.len(), x.columns, "a sum for each column");
    let _span = profile::span("column sums").work(|| Work::bytes(size_of_val(x.values)));
    sums.fill(0.0);
    if x.columns == 0 {
        return;
    }
    let mut blocks = vec![0.0; x.rows.div_ceil(ROWS) * x.columns];
    parallel::pieces(&mut blocks, x.columns, |block, sums| {
        let first = block * ROWS * x.columns;
        let rows = &x.values[first..(first + ROWS * x.columns).min(x.values.len())];
        dispatch(Add { rows, sums });
    });
    dispatch(Add { rows: &blocks, sums });
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
        for row in self.rows.chunks_exact(self.sums.len()) {
            for at in (0..row.len()).step_by(LANES) {
                let sum = s.add(s.read(self.sums, at, 0.0), s.read(row, at, 0.0));
                s.write(self.sums, at, sum);
            }
        }
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

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::simd::Level;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Element `(i, j)`.
fn element(matrix: Matrix<'_>, i: usize, j: usize) -> f32 {
    let (line, at) = if matrix.is_transposed() { (j, i) } else { (i, j) };
    matrix.line(line)[at]
}

/// Checks one product against its definition in `f64`.
fn check(rows: usize, inner: usize, columns: usize, transposed: [bool; 2], plus: Plus<'_>) {
    let (a, b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
    let view = |values, rows, columns, transposed| match transposed {
        true => Matrix::new(values, columns, rows).transpose(),
        false => Matrix::new(values, rows, columns),
    };
    let (a, b) = (view(&a, rows, inner, transposed[0]), view(&b, inner, columns, transposed[1]));
    let before = numbers(rows * columns, 3);
    let mut c = before.clone();
    gemm(a, b, plus, &mut c);
    for i in 0..rows {
        for j in 0..columns {
            let terms = (0..inner).map(|k| f64::from(element(a, i, k)) * f64::from(element(b, k, j)));
            let added = match plus {
                Plus::Nothing => 0.0,
                Plus::Bias(bias) => f64::from(bias[j]),
                Plus::Existing => f64::from(before[i * columns + j]),
            };
            let expected = added + terms.sum::<f64>();
            let found = f64::from(c[i * columns + j]);
            let allowed = 1e-6 * (2.0 + (inner as f64));
            assert!((found - expected).abs() < allowed, "({i}, {j}) is {found}, not {expected}");
        }
    }
}

#[test]
fn products_equal_their_definition() {
    for (rows, inner, columns) in
        [(1, 1, 1), (5, 3, 17), (6, 128, 64), (97, 129, 65), (100, 300, 200), (3, 0, 4), (0, 3, 4), (4, 3, 0)]
    {
        let bias = numbers(columns, 4);
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for plus in [Plus::Nothing, Plus::Bias(&bias), Plus::Existing] {
                check(rows, inner, columns, transposed, plus);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn products_of_any_size_equal_their_definition(
        rows in 1..140_usize, inner in 0..300_usize, columns in 1..140_usize, a in any::<bool>(), b in any::<bool>(),
    ) {
        check(rows, inner, columns, [a, b], Plus::Nothing);
    }

    /// A row has the same bits alone and among others, and on one thread and several.
    #[test]
    fn rows_do_not_depend_on_their_neighbours(rows in 1..200_usize, inner in 1..300_usize, columns in 1..200_usize) {
        let (a, b) = (numbers(rows * inner, 5), numbers(inner * columns, 6));
        let right = Matrix::new(&b, inner, columns);
        let mut all = vec![0.0; rows * columns];
        gemm(Matrix::new(&a, rows, inner), right, Plus::Nothing, &mut all);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for row in [0, rows / 2, rows - 1] {
            let mut alone = vec![0.0; columns];
            let a = Matrix::new(&a[row * inner..][..inner], 1, inner);
            pool.install(|| gemm(a, right, Plus::Nothing, &mut alone));
            prop_assert_eq!(&alone[..], &all[row * columns..][..columns]);
        }
    }
}

#[test]
fn instruction_sets_agree() {
    let (rows, inner, columns) = (50, 260, 90);
    let (a, b) = (numbers(rows * inner, 7), numbers(inner * columns, 8));
    let run = |level| {
        let mut c = vec![0.0; rows * columns];
        let values = Disjoint::new(&mut c);
        let (a, b) = (Matrix::new(&a, rows, inner), Matrix::new(&b, inner, columns));
        // SAFETY: the block is the whole matrix, which nobody else uses.
        unsafe {
            block(level, a, b.into(), Plus::Nothing, Target { values: &values, first: 0, stride: columns, rows: None })
        };
        c
    };
    let expected = run(Level::Scalar);
    for level in Level::available() {
        for (found, expected) in run(level).into_iter().zip(&expected) {
            // Portable code does not fuse multiplication and addition.
            assert!((found - expected).abs() < 1e-4, "{level:?}: {found}, not {expected}");
        }
    }
}

/// Blocks of larger matrices, with listed rows, into a block of a larger one with listed rows.
#[test]
fn blocks_and_lists_are_read_and_written() {
    let (rows, inner, columns) = (30, 40, 50);
    let (a, b) = (numbers(rows * inner, 9), numbers(inner * columns, 10));
    let (a_list, b_list, c_list) = ([7, 0, 29, 3, 3], [5, 1, 39, 2, 8, 21, 4], [2, 9, 4, 0, 6]);
    let (a, b) = (Matrix::new(&a, rows, inner), Matrix::new(&b, inner, columns));
    let (of_a, of_b) = (a.listed(&a_list).block(0..5, 30..37), b.listed(&b_list).block(0..7, 11..49));
    for [left, right] in [[false, false], [false, true], [true, false], [true, true]] {
        let copy = |matrix: Matrix<'_>| -> Vec<f32> {
            (0..matrix.columns()).flat_map(|j| (0..matrix.rows()).map(move |i| element(matrix, i, j))).collect()
        };
        // The same numbers from memory that is transposed.
        let (a_copy, b_copy) = (copy(of_a), copy(of_b));
        let a_view = if left { Matrix::new(&a_copy, 7, 5).transpose() } else { of_a };
        let b_view = if right { Matrix::new(&b_copy, 38, 7).transpose() } else { of_b };
        let before = numbers(10 * 60, 11);
        let mut c = before.clone();
        let values = Disjoint::new(&mut c);
        let target = Target { values: &values, first: 13, stride: 60, rows: Some(&c_list) };
        // SAFETY: the block lies inside the ten rows of sixty, which nobody else uses.
        unsafe { block(Level::current(), a_view, b_view.into(), Plus::Existing, target) };
        let mut expected = before;
        for (i, &row) in c_list.iter().enumerate() {
            for j in 0..38 {
                let terms = (0..7).map(|k| element(of_a, i, k) * element(of_b, k, j));
                expected[row as usize * 60 + 13 + j] += terms.sum::<f32>();
            }
        }
        for (found, expected) in c.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
    }
}

#[test]
#[should_panic(expected = "[2, 3] times [2, 3]")]
fn sizes_that_do_not_fit_are_refused() {
    let values = [0.0; 6];
    gemm(Matrix::new(&values, 2, 3), Matrix::new(&values, 2, 3), Plus::Nothing, &mut [0.0; 4]);
}

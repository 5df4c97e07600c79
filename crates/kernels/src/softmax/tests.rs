use super::*;
use crate::finite_differences::{assert_close, dot, exact, gradient, random};
use crate::simd::{Level, dispatch_at};

const SHAPES: [(usize, usize); 6] = [(1, 1), (2, 16), (3, 7), (40, 33), (300, 65), (2, 20_001)];

fn naive(log: bool, x: &[f64], width: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks(width) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        y.extend(row.iter().map(|x| if log { x - largest - total.ln() } else { (x - largest).exp() / total }));
    }
    y
}

#[test]
fn softmax_is_its_definition() {
    for (rows, width) in SHAPES {
        let x = random(rows * width, -20.0, 20.0, 1);
        let mut y = vec![0.0; x.len()];
        softmax(&x, width, &mut y);
        let expected = naive(false, &exact(&x), width);
        for (y, expected) in y.iter().zip(&expected) {
            assert!((f64::from(*y) - expected).abs() <= 1e-5 * expected + 1e-36, "{y} {expected}");
        }
        log_softmax(&x, width, &mut y);
        assert_close(&y, &naive(true, &exact(&x), width), 2e-6, "log_softmax");
    }
}

#[test]
fn gradients_are_finite_differences() {
    for (rows, width) in [(1, 1), (3, 7), (2, 33)] {
        let (x, dy) = (random(rows * width, -3.0, 3.0, 2), random(rows * width, -1.0, 1.0, 3));
        for log in [false, true] {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            if log {
                log_softmax(&x, width, &mut y);
                log_softmax_backward(&y, &dy, width, &mut dx);
            } else {
                softmax(&x, width, &mut y);
                softmax_backward(&y, &dy, width, &mut dx);
            }
            let expected = gradient(&exact(&x), |x| dot(&naive(log, x, width), &exact(&dy)));
            assert_close(&dx, &expected, 2e-6, if log { "log_softmax" } else { "softmax" });
        }
    }
}

#[test]
fn extreme_rows() {
    const NONE: f32 = f32::NEG_INFINITY;
    let run = |f: fn(&[f32], usize, &mut [f32]), x: [f32; 3]| {
        let mut y = [5.0; 3];
        f(&x, 3, &mut y);
        y
    };
    assert_eq!(run(softmax, [NONE; 3]), [0.0; 3]);
    assert_eq!(run(log_softmax, [NONE; 3]), [NONE; 3]);
    assert_eq!(run(softmax, [NONE, 7.0, NONE]), [0.0, 1.0, 0.0]);
    assert_eq!(run(log_softmax, [NONE, 7.0, NONE]), [NONE, 0.0, NONE]);
    assert_eq!(run(softmax, [f32::MAX, -f32::MAX, 0.0]), [1.0, 0.0, 0.0]);
    assert_eq!(run(softmax, [-f32::MAX; 3]), [1.0 / 3.0; 3]);
    assert!(run(softmax, [f32::NAN, 0.0, 1.0]).iter().all(|y| y.is_nan()));
    assert!(run(log_softmax, [0.0, 1.0, f32::NAN]).iter().all(|y| y.is_nan()));
    softmax(&[], 3, &mut []);
}

#[test]
fn a_row_is_bit_identical_among_any_other_rows_and_levels_agree() {
    let (rows, width) = (500, 77);
    let (x, dy) = (random(rows * width, -9.0, 9.0, 4), random(rows * width, -1.0, 1.0, 5));
    let mut together = vec![0.0; x.len()];
    softmax(&x, width, &mut together);
    for (x, expected) in x.chunks(width).zip(together.chunks(width)) {
        let mut alone = vec![0.0; width];
        softmax(x, width, &mut alone);
        assert_eq!(alone, expected);
    }
    let run = |level| {
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        dispatch_at(level, super::Forward::<false> { x: &x, width, y: &mut y });
        dispatch_at(level, super::Backward::<false> { y: &y, dy: &dy, width, dx: &mut dx });
        let mut log = vec![0.0; x.len()];
        dispatch_at(level, super::Forward::<true> { x: &x, width, y: &mut log });
        [y, dx, log].concat()
    };
    let expected = exact(&run(Level::Scalar));
    for level in Level::available() {
        assert_close(&run(level), &expected, 2e-6, level.name());
    }
}

use super::*;
use crate::finite_differences::{assert_close, dot, exact, gradient, random};
use crate::simd::{Level, dispatch_at};

const EPSILON: f32 = 1e-5;
const SHAPES: [(usize, usize); 7] = [(1, 1), (1, 16), (3, 7), (2, 33), (5, 64), (70, 20), (9, 577)];

/// The definition, in f64.
fn naive(centred: bool, x: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let n = weight.len() as f64;
    let mut y = Vec::new();
    for row in x.chunks(weight.len()) {
        let mean = if centred { row.iter().sum::<f64>() / n } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let deviation = (variance + f64::from(EPSILON)).sqrt();
        let bias = |i: usize| bias.map_or(0.0, |bias| bias[i]);
        y.extend(row.iter().zip(weight).enumerate().map(|(i, (x, w))| (x - mean) / deviation * w + bias(i)));
    }
    y
}

#[test]
fn norms_are_their_definition() {
    for (rows, width) in SHAPES {
        let x = random(rows * width, -2.0, 3.0, 1);
        let (weight, bias) = (random(width, -1.0, 2.0, 2), random(width, -1.0, 1.0, 3));
        let mut y = vec![0.0; x.len()];
        rms_norm(&x, &weight, EPSILON, &mut y);
        assert_close(&y, &naive(false, &exact(&x), &exact(&weight), None), 2e-6, "rms_norm");
        layer_norm(&x, &weight, None, EPSILON, &mut y);
        assert_close(&y, &naive(true, &exact(&x), &exact(&weight), None), 4e-6, "layer_norm");
        layer_norm(&x, &weight, Some(&bias), EPSILON, &mut y);
        assert_close(&y, &naive(true, &exact(&x), &exact(&weight), Some(&exact(&bias))), 4e-6, "layer_norm with bias");
    }
}

#[test]
fn a_norm_of_a_sum_equals_addition_then_norm_bit_for_bit() {
    for (rows, width) in SHAPES.into_iter().chain([(300, 257)]) {
        let (x, residual) = (random(rows * width, -2.0, 3.0, 4), random(rows * width, -2.0, 3.0, 5));
        let (weight, bias) = (random(width, -1.0, 2.0, 6), random(width, -1.0, 1.0, 19));
        let expected_sum: Vec<f32> = x.iter().zip(&residual).map(|(x, residual)| x + residual).collect();
        let (mut sum, mut y, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        add_rms_norm(&x, &residual, &weight, EPSILON, &mut sum, &mut y);
        rms_norm(&expected_sum, &weight, EPSILON, &mut expected);
        assert!(sum == expected_sum && y == expected, "rms_norm");
        sum.fill(0.0);
        add_layer_norm(&x, &residual, &weight, Some(&bias), EPSILON, &mut sum, &mut y);
        layer_norm(&expected_sum, &weight, Some(&bias), EPSILON, &mut expected);
        assert!(sum == expected_sum && y == expected, "layer_norm");
    }
}

#[test]
fn the_gradient_from_elsewhere_is_added() {
    for (rows, width) in SHAPES {
        let (sum, dy) = (random(rows * width, -2.0, 3.0, 20), random(rows * width, -1.0, 1.0, 21));
        let (weight, d_sum) = (random(width, -1.0, 2.0, 22), random(rows * width, -3.0, 3.0, 23));
        let zeros = || (vec![0.0; sum.len()], vec![0.0; width], vec![0.0; width]);
        let ((mut plain, mut d_weight, mut d_bias), mut expected) = (zeros(), zeros());
        layer_norm_backward(&sum, &weight, EPSILON, &dy, &mut expected.0, &mut expected.1, Some(&mut expected.2));
        let (dw, db) = (&mut d_weight, Some(&mut d_bias[..]));
        add_layer_norm_backward(&sum, &weight, EPSILON, &dy, None, &mut plain, dw, db);
        assert!((plain.as_slice(), &d_weight, &d_bias) == (&expected.0, &expected.1, &expected.2));
        let both: Vec<f64> = plain.iter().zip(&d_sum).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
        let (mut with, mut again, _) = zeros();
        add_layer_norm_backward(&sum, &weight, EPSILON, &dy, Some(&d_sum), &mut with, &mut again, None);
        assert_close(&with, &both, 2e-6, "layer_norm");
        assert_eq!(again, d_weight);
        let (mut with, mut again, _) = zeros();
        rms_norm_backward(&sum, &weight, EPSILON, &dy, &mut plain, &mut d_weight);
        add_rms_norm_backward(&sum, &weight, EPSILON, &dy, Some(&d_sum), &mut with, &mut again);
        let both: Vec<f64> = plain.iter().zip(&d_sum).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
        assert_close(&with, &both, 2e-6, "rms_norm");
    }
}

#[test]
fn gradients_are_finite_differences() {
    for (rows, width) in [(1, 1), (3, 7), (2, 33), (37, 5)] {
        let x = random(rows * width, -2.0, 3.0, 7);
        let (weight, dy) = (random(width, -1.0, 2.0, 8), random(rows * width, -1.0, 1.0, 9));
        let (x64, weight64, dy64) = (exact(&x), exact(&weight), exact(&dy));
        for centred in [false, true] {
            let mut dx = vec![0.0; x.len()];
            // The gradients of parameters are added to what is there.
            let (mut d_weight, mut d_bias) = (vec![10.0; width], vec![20.0; width]);
            if centred {
                layer_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight, Some(&mut d_bias));
            } else {
                rms_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight);
            }
            let of_x = gradient(&x64, |x| dot(&naive(centred, x, &weight64, None), &dy64));
            assert_close(&dx, &of_x, 2e-5, "dx");
            let of_weight = gradient(&weight64, |weight| dot(&naive(centred, &x64, weight, None), &dy64));
            let of_weight: Vec<f64> = of_weight.iter().map(|d| d + 10.0).collect();
            assert_close(&d_weight, &of_weight, 1e-5, "d_weight");
            if centred {
                let bias = vec![0.0; width];
                let of_bias = gradient(&bias, |bias| dot(&naive(true, &x64, &weight64, Some(bias)), &dy64));
                let of_bias: Vec<f64> = of_bias.iter().map(|d| d + 20.0).collect();
                assert_close(&d_bias, &of_bias, 1e-5, "d_bias");
            }
        }
    }
}

#[test]
fn a_row_is_bit_identical_among_any_other_rows() {
    let (rows, width) = (200, 339);
    let x = random(rows * width, -2.0, 3.0, 10);
    let weight = random(width, -1.0, 2.0, 11);
    let mut together = vec![0.0; x.len()];
    layer_norm(&x, &weight, None, EPSILON, &mut together);
    for (x, expected) in x.chunks(width).zip(together.chunks(width)) {
        let mut alone = vec![0.0; width];
        layer_norm(x, &weight, None, EPSILON, &mut alone);
        assert_eq!(alone, expected);
    }
}

#[test]
fn parameter_gradients_do_not_depend_on_threads() {
    let (rows, width) = (150, 48);
    let (x, dy) = (random(rows * width, -2.0, 3.0, 12), random(rows * width, -1.0, 1.0, 13));
    let weight = random(width, -1.0, 2.0, 14);
    let results = [1, 2, 3].map(|threads| {
        let (mut dx, mut d_weight, mut d_bias) = (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            layer_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight, Some(&mut d_bias));
        });
        (dx, d_weight, d_bias)
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}

#[test]
fn all_levels_agree_with_scalar() {
    let (rows, width) = (7, 83);
    let (x, dy) = (random(rows * width, -2.0, 3.0, 15), random(rows * width, -1.0, 1.0, 16));
    let (weight, bias) = (random(width, -1.0, 2.0, 17), random(width, -1.0, 1.0, 18));
    let run = |level| {
        let (mut y, mut dx, mut sum) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut d_weight, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
        dispatch_at(
            level,
            Forward::<true> {
                x: &x,
                residual: Some(Residual { residual: &dy, sum: &mut sum }),
                weight: &weight,
                bias: Some(&bias),
                epsilon: EPSILON,
                y: &mut y,
            },
        );
        dispatch_at(
            level,
            Backward::<true> {
                x: &x,
                weight: &weight,
                epsilon: EPSILON,
                dy: &dy,
                d_other: Some(&bias.repeat(rows)),
                dx: &mut dx,
                d_weight: &mut d_weight,
                d_bias: &mut d_bias,
            },
        );
        [y, dx, sum, d_weight, d_bias].concat()
    };
    let expected = exact(&run(Level::Scalar));
    for level in Level::available() {
        assert_close(&run(level), &expected, 2e-6, level.name());
    }
}

#[test]
fn extreme_rows_are_normalised() {
    let weight = [1.0; 32];
    let mut y = [0.0; 32];
    rms_norm(&[0.0; 32], &weight, EPSILON, &mut y);
    assert_eq!(y, [0.0; 32]);
    layer_norm(&[1e15; 32], &weight, None, EPSILON, &mut y);
    assert_eq!(y, [0.0; 32], "a constant row has no deviation");
    rms_norm(&[-1e18; 32], &weight, EPSILON, &mut y);
    assert!(y.iter().all(|y| (y + 1.0).abs() < 1e-6), "{y:?}");
    let mut dx = [1.0; 32];
    let mut x = [-1e15; 32];
    x[0] = 1e15;
    rms_norm_backward(&x, &weight, EPSILON, &[1.0; 32], &mut dx, &mut [0.0; 32]);
    // r = 1e-15, mean(x̂) = -30/32.
    assert!((dx[0] * 1e15 - 1.9375).abs() < 1e-5 && (dx[1] * 1e15 - 0.0625).abs() < 1e-5, "{dx:?}");
    rms_norm(&[1e-25; 32], &weight, EPSILON, &mut y);
    assert!(y.iter().all(|&y| y.abs() < 1e-20));
    rms_norm(&[f32::NAN; 32], &weight, EPSILON, &mut y);
    assert!(y.iter().all(|y| y.is_nan()));
    rms_norm(&[], &weight, EPSILON, &mut []);
}

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
fn the_fused_norm_equals_addition_then_norm_bit_for_bit() {
    for (rows, width) in SHAPES.into_iter().chain([(300, 257)]) {
        let (x, start) = (random(rows * width, -2.0, 3.0, 4), random(rows * width, -2.0, 3.0, 5));
        let weight = random(width, -1.0, 2.0, 6);
        let (mut residual, mut y) = (start.clone(), vec![0.0; x.len()]);
        add_rms_norm(&x, &mut residual, &weight, EPSILON, &mut y);
        let sum: Vec<f32> = x.iter().zip(&start).map(|(x, start)| x + start).collect();
        assert_eq!(residual, sum);
        let mut expected = vec![0.0; x.len()];
        rms_norm(&sum, &weight, EPSILON, &mut expected);
        assert_eq!(y, expected);
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
    let (rows, width) = (4, 83);
    let (x, dy) = (random(rows * width, -2.0, 3.0, 15), random(rows * width, -1.0, 1.0, 16));
    let (weight, bias) = (random(width, -1.0, 2.0, 17), random(width, -1.0, 1.0, 18));
    let run = |level| {
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut d_weight, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
        dispatch_at(level, Forward::<true> { x: &x, weight: &weight, bias: Some(&bias), epsilon: EPSILON, y: &mut y });
        dispatch_at(
            level,
            Backward::<true> {
                x: &x,
                weight: &weight,
                epsilon: EPSILON,
                dy: &dy,
                dx: &mut dx,
                d_weight: &mut d_weight,
                d_bias: &mut d_bias,
            },
        );
        [y, dx, d_weight, d_bias].concat()
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
    rms_norm(&[1e-25; 32], &weight, EPSILON, &mut y);
    assert!(y.iter().all(|&y| y.abs() < 1e-20));
    rms_norm(&[f32::NAN; 32], &weight, EPSILON, &mut y);
    assert!(y.iter().all(|y| y.is_nan()));
    rms_norm(&[], &weight, EPSILON, &mut []);
}

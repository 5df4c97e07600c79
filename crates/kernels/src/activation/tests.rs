use super::*;
use crate::finite_differences::{assert_close, exact, random};
use crate::simd::{Level, dispatch_at};
use biased::Biased;

const LENGTHS: [usize; 5] = [0, 1, 16, 75, 17_000];

/// `Φ(x)` by the Taylor series of `erf`, in f64.
fn normal(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for n in 1..300 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 + sum / std::f64::consts::PI.sqrt()
}

fn gelu_exact(x: f64) -> f64 {
    x * normal(x)
}

fn gelu_tanh_exact(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn silu_exact(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn slope(f: Definition, x: f64) -> f64 {
    (f(x + 1e-4) - f(x - 1e-4)) / 2e-4
}

type Definition = fn(f64) -> f64;
type Forward = fn(&[f32], &mut [f32]);
type Backward = fn(&[f32], &[f32], &mut [f32]);
type Case<F, B> = (&'static str, F, B, Definition);

#[test]
fn activations_and_their_slopes_are_their_definition() {
    let all: [Case<Forward, Backward>; 3] = [
        ("gelu", gelu, gelu_backward, gelu_exact),
        ("gelu_tanh", gelu_tanh, gelu_tanh_backward, gelu_tanh_exact),
        ("silu", silu, silu_backward, silu_exact),
    ];
    for (name, forward, backward, definition) in all {
        for length in LENGTHS {
            let (x, dy) = (random(length, -5.5, 5.5, 1), random(length, -2.0, 2.0, 2));
            let (mut y, mut dx) = (vec![0.0; length], vec![0.0; length]);
            forward(&x, &mut y);
            backward(&x, &dy, &mut dx);
            let values: Vec<f64> = exact(&x).into_iter().map(definition).collect();
            assert_close(&y, &values, 1e-6, name);
            let slopes: Vec<f64> = exact(&x).iter().zip(exact(&dy)).map(|(&x, dy)| dy * slope(definition, x)).collect();
            assert_close(&dx, &slopes, 2e-6, name);
        }
    }
}

#[test]
fn gelu_is_as_exact_as_it_says() {
    for level in Level::available() {
        let x: Vec<f32> = (0..=48_000).map(|i| (i as f32 - 24_000.0) / 4_000.0).collect();
        let (mut y, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        dispatch_at(level, Map::<Gelu>(&x, &mut y, PhantomData));
        dispatch_at(level, MapBackward::<Gelu>(&x, &vec![1.0; x.len()], &mut slope, PhantomData));
        let mut worst = [0.0f64; 2];
        for ((&x, &y), &slope) in x.iter().zip(&y).zip(&slope) {
            let x = f64::from(x);
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            worst[0] = worst[0].max((f64::from(y) - gelu_exact(x)).abs() / x.max(1.0));
            worst[1] = worst[1].max((f64::from(slope) - normal(x) - x * density).abs());
        }
        assert!(worst[0] < 2e-7 && worst[1] < 5e-7, "{level:?} {worst:?}");
    }
}

type BiasedForward = fn(&[f32], &[f32], &mut [f32]);
type BiasedBackward = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

#[test]
fn a_bias_is_added_first_and_its_gradient_is_a_sum_over_rows() {
    let all: [(Case<Forward, Backward>, BiasedForward, BiasedBackward); 3] = [
        (("gelu", gelu, gelu_backward, gelu_exact), bias_gelu, bias_gelu_backward),
        (("gelu_tanh", gelu_tanh, gelu_tanh_backward, gelu_tanh_exact), bias_gelu_tanh, bias_gelu_tanh_backward),
        (("silu", silu, silu_backward, silu_exact), bias_silu, bias_silu_backward),
    ];
    for ((name, value, gradient, _), forward, backward) in all {
        for (rows, width) in [(0, 3), (1, 1), (5, 16), (3, 33), (700, 40)] {
            let (x, dy) = (random(rows * width, -4.0, 4.0, 8), random(rows * width, -1.0, 1.0, 9));
            let bias = random(width, -1.0, 1.0, 10);
            let shifted: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + bias[i % width]).collect();
            let (mut y, mut expected) = (vec![9.0; x.len()], vec![0.0; x.len()]);
            forward(&x, &bias, &mut y);
            value(&shifted, &mut expected);
            assert_eq!(y, expected, "{name}");
            // The gradient of the bias is added to what is there.
            let mut d_bias = vec![10.0; width];
            backward(&x, &bias, &dy, &mut y, &mut d_bias);
            gradient(&shifted, &dy, &mut expected);
            assert_eq!(y, expected, "{name}");
            let column = |i: usize| exact(&y).iter().skip(i).step_by(width).sum::<f64>();
            assert_close(&d_bias, &(0..width).map(|i| 10.0 + column(i)).collect::<Vec<_>>(), 3e-6, name);
            let results = [1, 2, 3].map(|threads| {
                let (mut dx, mut d_bias) = (y.clone(), vec![0.0; width]);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| backward(&x, &bias, &dy, &mut dx, &mut d_bias));
                (dx, d_bias)
            });
            assert!(results[0] == results[1] && results[0] == results[2], "{name}");
        }
    }
}

type GatedForward = fn(&[f32], &[f32], &mut [f32]);
type GatedGradients = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

#[test]
fn gated_units_and_their_gradients_are_their_definition() {
    let all: [Case<GatedForward, GatedGradients>; 2] = [
        ("swiglu", swiglu, swiglu_backward, silu_exact),
        ("geglu_tanh", geglu_tanh, geglu_tanh_backward, gelu_tanh_exact),
    ];
    for (name, forward, backward, definition) in all {
        for length in LENGTHS {
            let (gate, up) = (random(length, -5.0, 5.0, 3), random(length, -3.0, 3.0, 4));
            let dy = random(length, -2.0, 2.0, 5);
            let mut y = vec![0.0; length];
            let (mut d_gate, mut d_up) = (y.clone(), y.clone());
            forward(&gate, &up, &mut y);
            backward(&gate, &up, &dy, &mut d_gate, &mut d_up);
            let of = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
                let rows = gate.iter().zip(&up).zip(&dy);
                rows.map(|((&g, &u), &d)| f(f64::from(g), f64::from(u), f64::from(d))).collect()
            };
            assert_close(&y, &of(&|g, u, _| definition(g) * u), 3e-6, name);
            assert_close(&d_gate, &of(&|g, u, d| d * u * slope(definition, g)), 1e-5, name);
            assert_close(&d_up, &of(&|g, _, d| d * definition(g)), 3e-6, name);
        }
    }
}

#[test]
fn extreme_values_saturate() {
    for magnitude in [20.0, 100.0, 1e10, 1e38, f32::MAX] {
        let x = [magnitude, -magnitude];
        for (forward, backward) in
            [(gelu as Forward, gelu_backward as Backward), (gelu_tanh, gelu_tanh_backward), (silu, silu_backward)]
        {
            let (mut y, mut dx) = ([0.0; 2], [0.0; 2]);
            forward(&x, &mut y);
            backward(&x, &[1.0; 2], &mut dx);
            assert!((y[0] / magnitude - 1.0).abs() < 1e-6 && y[1].abs() < 1e-6, "{x:?} {y:?}");
            assert!((dx[0] - 1.0).abs() < 1e-6 && dx[1].abs() < 1e-6, "{x:?} {dx:?}");
        }
    }
    for forward in [gelu as Forward, gelu_tanh, silu] {
        let mut y = [1.0; 2];
        forward(&[f32::NAN, 0.0], &mut y);
        assert!(y[0].is_nan() && y[1] == 0.0);
    }
    let mut y = [1.0; 2];
    gelu(&[f32::INFINITY, f32::NEG_INFINITY], &mut y);
    assert!(y[0] == f32::INFINITY && y[1].abs() < 1e-30, "the limits");
}

#[test]
fn all_levels_agree_with_scalar() {
    fn check<A: Activation>() {
        let (x, dy) = (random(200, -12.0, 12.0, 6), random(200, -1.0, 1.0, 7));
        let run = |level| {
            let (mut y, mut dx) = (vec![0.0; 200], vec![0.0; 200]);
            dispatch_at(level, Map::<A>(&x, &mut y, PhantomData));
            dispatch_at(level, MapBackward::<A>(&x, &dy, &mut dx, PhantomData));
            let (bias, mut z, mut dz, mut d_bias) = (&dy[..20], y.clone(), dx.clone(), vec![0.0; 20]);
            dispatch_at(level, Biased::<A>(&x, bias, &mut z, PhantomData));
            let (x, activation) = (&x, PhantomData::<A>);
            let backward = biased::BiasedBackward { x, bias, dy: &dy, dx: &mut dz, d_bias: &mut d_bias, activation };
            dispatch_at(level, backward);
            [y, dx, z, dz, d_bias].concat()
        };
        let expected = exact(&run(Level::Scalar));
        for level in Level::available() {
            assert_close(&run(level), &expected, 2e-6, level.name());
        }
    }
    check::<Gelu>();
    check::<GeluTanh>();
    check::<Silu>();
}

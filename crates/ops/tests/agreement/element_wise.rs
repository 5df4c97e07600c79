//! Linear layers, activations, softmax and norms: kernels against the composed form.

use crate::check::{check, check_half, values};
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_ops::{
    add_layer_norm, add_rms_norm, bias_gelu, bias_gelu_tanh, bias_silu, dropout, geglu_tanh, gelu, gelu_tanh,
    layer_norm, linear, log_softmax, rms_norm, silu, softmax, swiglu,
};
use proptest::prelude::*;

type Unary = fn(Tensor<2>) -> Tensor<2>;
type Binary = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;

type Biased = fn(Tensor<2>, Tensor<1>) -> Tensor<2>;

const UNARY: [Unary; 5] = [gelu, gelu_tanh, silu, softmax, log_softmax];
const BINARY: [Binary; 2] = [swiglu, geglu_tanh];

const BIASED: [Biased; 3] = [bias_gelu, bias_gelu_tanh, bias_silu];

/// A matrix of `rows` from a flat tensor, as it lies or as a transposed view.
fn matrix(x: Tensor<1>, rows: usize, transposed: bool) -> Tensor<2> {
    let columns = x.dims()[0] / rows;
    if transposed { x.reshape([columns, rows]).swap_dims(0, 1) } else { x.reshape([rows, columns]) }
}

fn flat(x: Tensor<2>) -> Tensor<1> {
    // A transposed result makes the gradient that comes back a strided view.
    let [rows, columns] = x.dims();
    x.swap_dims(0, 1).reshape([rows * columns])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn unary(seed: u64, rows in 1usize..5, columns in 1usize..40, transposed: bool) {
        for function in UNARY {
            let operation = |x: Vec<Tensor<1>>| vec![flat(function(matrix(x[0].clone(), rows, transposed)))];
            check(&operation, &[values(seed, rows * columns, 4.0)]);
        }
    }

    #[test]
    fn binary(seed: u64, rows in 1usize..5, columns in 1usize..40, transposed: bool) {
        for function in BINARY {
            let operation = |x: Vec<Tensor<1>>| {
                // Only one of them is a transposed view.
                vec![flat(function(matrix(x[0].clone(), rows, transposed), matrix(x[1].clone(), rows, false)))]
            };
            let count = rows * columns;
            check(&operation, &[values(seed, count, 4.0), values(seed ^ 1, count, 2.0)]);
        }
    }

    #[test]
    fn linear_layers(
        seed: u64, rows in 1usize..70, inputs in 1usize..40, outputs in 1usize..40, [x_view, w_view]: [bool; 2],
    ) {
        let x = values(seed, rows * inputs, 1.0);
        let (weight, bias) = (values(seed ^ 1, inputs * outputs, 1.0), values(seed ^ 2, outputs, 1.0));
        let layer = |t: &[Tensor<1>], bias| {
            let (x, weight) = (matrix(t[0].clone(), rows, x_view), matrix(t[1].clone(), inputs, w_view));
            vec![flat(linear(x, weight, bias))]
        };
        check(&|t: Vec<Tensor<1>>| layer(&t, None), &[x.clone(), weight.clone()]);
        check(&|t: Vec<Tensor<1>>| layer(&t, Some(t[2].clone())), &[x, weight, bias]);
    }

    #[test]
    fn norms(seed: u64, rows in 1usize..70, columns in 1usize..40, transposed: bool) {
        let x = values(seed, rows * columns, 2.0);
        let (weight, bias) = (values(seed ^ 1, columns, 2.0), values(seed ^ 2, columns, 2.0));
        let input = |x: &[Tensor<1>]| matrix(x[0].clone(), rows, transposed);
        let rms = |x: Vec<Tensor<1>>| vec![flat(rms_norm(input(&x), x[1].clone(), 1e-2))];
        check(&rms, &[x.clone(), weight.clone()]);
        let plain = |x: Vec<Tensor<1>>| vec![flat(layer_norm(input(&x), x[1].clone(), None, 1e-2))];
        check(&plain, &[x.clone(), weight.clone()]);
        let biased = |x: Vec<Tensor<1>>| vec![flat(layer_norm(input(&x), x[1].clone(), Some(x[2].clone()), 1e-2))];
        check(&biased, &[x, weight, bias]);
    }

    #[test]
    fn norms_of_sums(seed: u64, rows in 1usize..70, columns in 1usize..40, transposed: bool) {
        let [x, residual] = [0, 1].map(|i| values(seed ^ i, rows * columns, 2.0));
        let [weight, bias] = [2, 3].map(|i| values(seed ^ i, columns, 2.0));
        // Only one of them is a transposed view.
        let summands = |x: &[Tensor<1>]| (matrix(x[0].clone(), rows, transposed), matrix(x[1].clone(), rows, false));
        let both = |(sum, y): (Tensor<2>, Tensor<2>)| vec![flat(sum), flat(y)];
        let rms = |t: Vec<Tensor<1>>| {
            let (x, residual) = summands(&t);
            both(add_rms_norm(x, residual, t[2].clone(), 1e-2))
        };
        let layer = |t: Vec<Tensor<1>>| {
            let (x, residual) = summands(&t);
            both(add_layer_norm(x, residual, t[2].clone(), t.get(3).cloned(), 1e-2))
        };
        let inputs = [x, residual, weight, bias];
        for without_bias in [&rms as &dyn Fn(_) -> _, &layer] {
            check(without_bias, &inputs[..3]);
            // A block may use the norm alone.
            check(&|t| without_bias(t).split_off(1), &inputs[..3]);
        }
        check(&layer, &inputs);
        check(&|t| layer(t).split_off(1), &inputs);
    }

    #[test]
    fn biased_activations(seed: u64, rows in 1usize..70, columns in 1usize..40, transposed: bool) {
        for function in BIASED {
            let operation = |t: Vec<Tensor<1>>| vec![flat(function(matrix(t[0].clone(), rows, transposed), t[1].clone()))];
            check(&operation, &[values(seed, rows * columns, 4.0), values(seed ^ 1, columns, 2.0)]);
        }
    }

    #[test]
    fn dropouts(seed: u64, p in 0.0..0.95, rows in 1usize..5, columns in 1usize..40, transposed: bool) {
        let operation = |t: Vec<Tensor<1>>| vec![flat(dropout(matrix(t[0].clone(), rows, transposed), p, seed))];
        check(&operation, &[values(seed, rows * columns, 4.0)]);
    }
}

#[test]
fn halves_are_composed() {
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 6e-2)] {
        let x = [values(1, 24, 2.0), values(2, 24, 2.0)];
        for function in UNARY {
            check_half(&|x| vec![flat(function(matrix(x[0].clone(), 3, false)))], &x[..1], dtype, tolerance);
        }
        for function in BINARY {
            let operation = |x: Vec<Tensor<1>>| {
                let [gate, up] = [0, 1].map(|i| matrix(x[i].clone(), 3, false));
                vec![flat(function(gate, up))]
            };
            check_half(&operation, &x, dtype, tolerance);
        }
        let norm = |x: Vec<Tensor<1>>| vec![flat(rms_norm(matrix(x[0].clone(), 3, false), x[1].clone(), 1e-2))];
        check_half(&norm, &[values(3, 24, 2.0), values(4, 8, 1.0)], dtype, tolerance);
        let dropped = |x: Vec<Tensor<1>>| vec![flat(dropout(matrix(x[0].clone(), 3, false), 0.5, 7))];
        check_half(&dropped, &x[..1], dtype, tolerance);
    }
}

#[test]
fn a_hidden_row_is_zero_in_softmax() {
    for dtype in [DType::F32, DType::F64] {
        let device = Device::flex().autodiff();
        let hidden = f64::NEG_INFINITY;
        let data = TensorData::new(vec![hidden, hidden, 0.0, hidden], [2, 2]);
        let x = Tensor::<2>::from_data(data, (&device, dtype)).require_grad();
        let y = softmax(x.clone());
        assert_eq!(y.to_data().convert::<f32>().try_into_vec::<f32>().unwrap(), [0.0, 0.0, 1.0, 0.0], "{dtype:?}");
        let gradient = x.grad(&y.powi_scalar(2).sum().backward()).unwrap();
        assert_eq!(gradient.into_data().convert::<f32>().try_into_vec::<f32>().unwrap(), [0.0; 4], "{dtype:?}");
    }
}

#[test]
fn sharing_an_input_keeps_it() {
    let x = Tensor::<2>::from_data(TensorData::new(values(5, 12, 1.0), [3, 4]), (&Device::flex(), DType::F32));
    let before = x.to_data();
    for function in UNARY {
        function(x.clone());
    }
    assert_eq!(x.to_data(), before);
}

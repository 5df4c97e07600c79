//! How an operation is checked: its kernels against its composed form in `f64`, and that against finite differences.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// An operation from flat tensors to flat tensors; it gives them their shapes itself.
pub type Operation<'a> = &'a dyn Fn(Vec<Tensor<1>>) -> Vec<Tensor<1>>;

/// Checks `operation` at `inputs`: values to `1e-5` and gradients to `1e-4`, relative to the largest where it exceeds 1.
///
/// Plain device, training device, training device with checkpointing; all inputs tracked, then each alone.
pub fn check(operation: Operation<'_>, inputs: &[Vec<f64>]) {
    let all = vec![true; inputs.len()];
    let exact = run(operation, inputs, &all, &Device::flex().autodiff(), DType::F64);
    check_by_differences(operation, inputs, &exact.gradients);

    let plain = run(operation, inputs, &all, &Device::flex(), DType::F32);
    assert_close("plain values", &plain.outputs, &exact.outputs, 1e-5);
    let devices = [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()];
    for device in &devices {
        for tracked in subsets(inputs.len()) {
            let found = run(operation, inputs, &tracked, device, DType::F32);
            let expected: Vec<_> =
                exact.gradients.iter().zip(&tracked).map(|(g, &t)| g.clone().filter(|_| t)).collect();
            assert_close("values", &found.outputs, &exact.outputs, 1e-5);
            for (i, (found, expected)) in found.gradients.iter().zip(&expected).enumerate() {
                assert_eq!(found.is_some(), expected.is_some(), "input {i} of {tracked:?} has a gradient");
                assert_close(&format!("gradient of input {i} of {tracked:?}"), found, expected, 1e-4);
            }
        }
    }
}

/// Checks that `operation` runs in `dtype` and comes within `tolerance` of its values in `f64`.
pub fn check_half(operation: Operation<'_>, inputs: &[Vec<f64>], dtype: DType, tolerance: f64) {
    let tracked = vec![true; inputs.len()];
    let device = Device::flex().autodiff();
    let exact = run(operation, inputs, &tracked, &device, DType::F64);
    let found = run(operation, inputs, &tracked, &device, dtype);
    assert_close("half values", &found.outputs, &exact.outputs, tolerance);
    let [found, exact] = [found, exact].map(|run| run.gradients.into_iter().flatten().collect::<Vec<_>>());
    assert_close("half gradients", &found, &exact, 2.0 * tolerance);
}

/// `count` values in `[-scale, scale]`, different for each `seed`.
pub fn values(seed: u64, count: usize, scale: f64) -> Vec<f64> {
    // SplitMix64.
    let value = |i: u64| {
        let mut z = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    // What `f32` can hold, so that both precisions see the same.
    (0..count as u64).map(|i| f64::from((scale * value(i)) as f32)).collect()
}

/// Outputs, and the gradients of a fixed combination of them.
struct Run {
    outputs: Vec<Vec<f64>>,
    gradients: Vec<Option<Vec<f64>>>,
}

fn run(operation: Operation<'_>, inputs: &[Vec<f64>], tracked: &[bool], device: &Device, dtype: DType) -> Run {
    let leaf = |(values, &tracked): (&Vec<f64>, &bool)| {
        let data = TensorData::new(values.clone(), [values.len()]);
        let leaf = Tensor::<1>::from_data(data, (device, dtype));
        if tracked && device.is_autodiff() { leaf.require_grad() } else { leaf }
    };
    let leaves: Vec<_> = inputs.iter().zip(tracked).map(leaf).collect();
    let outputs = operation(leaves.clone());
    let gradients = if device.is_autodiff() {
        let combined = outputs.iter().enumerate().map(|(i, output)| {
            let weights = TensorData::new(weights(i, output.dims()[0]), output.dims());
            (output.clone() * Tensor::<1>::from_data(weights, (device, dtype))).sum()
        });
        let gradients = combined.reduce(|a, b| a + b).expect("an output").backward();
        leaves.iter().map(|leaf| leaf.grad(&gradients).map(numbers)).collect()
    } else {
        vec![None; inputs.len()]
    };
    Run { outputs: outputs.into_iter().map(numbers).collect(), gradients }
}

/// The factors of an output in the loss, all different.
fn weights(output: usize, count: usize) -> Vec<f64> {
    (0..count).map(|i| (0.7 * i as f64 + 1.3 * output as f64).cos()).collect()
}

fn numbers(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().expect("f64")
}

/// All inputs, then each alone.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    let alone = (0..count).map(|only| (0..count).map(|i| i == only).collect());
    std::iter::once(vec![true; count]).chain(alone).collect()
}

/// Compares gradients with central differences in `f64`, at a few elements of each input.
fn check_by_differences(operation: Operation<'_>, inputs: &[Vec<f64>], gradients: &[Option<Vec<f64>>]) {
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let outputs = run(operation, inputs, &vec![false; inputs.len()], &Device::flex(), DType::F64).outputs;
        let term = |(i, output): (usize, &Vec<f64>)| -> f64 {
            output.iter().zip(weights(i, output.len())).map(|(value, weight)| value * weight).sum()
        };
        outputs.iter().enumerate().map(term).sum()
    };
    const STEP: f64 = 1e-5;
    for (i, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("all inputs are tracked");
        assert_eq!(gradient.len(), inputs[i].len());
        for at in (0..gradient.len()).step_by(gradient.len().div_ceil(5).max(1)) {
            let moved = |by: f64| {
                let mut inputs = inputs.to_vec();
                inputs[i][at] += by;
                loss(&inputs)
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let error = (difference - gradient[at]).abs();
            assert!(
                error < 1e-6 * gradient[at].abs().max(1.0),
                "input {i}, element {at}: composed gradient {}, difference {difference}",
                gradient[at]
            );
        }
    }
}

fn assert_close<'a, L: IntoIterator<Item = &'a Vec<f64>>>(what: &str, found: L, expected: L, tolerance: f64) {
    for (found, expected) in found.into_iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: length");
        let tolerance = tolerance * expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected} at {i}");
        }
    }
}

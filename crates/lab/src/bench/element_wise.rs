//! Softmax, activations, norms, dropout and the AdamW step over `f32`: what runs at the speed of memory.

use headwise_kernels::adamw::{AdamW, Parameter};
use headwise_kernels::{activation, dropout as drop_values, norm, softmax as kernel};

use super::attention::numbers;
use super::plan::Run;
use super::{BenchRow, Params, Times};

/// As the norms of most models.
const EPSILON: f32 = 1e-5;
/// The share that dropout drops.
const DROPPED: f64 = 0.1;

/// A row for `call`, which reads and writes so many tensors in all.
fn row(run: &Run<'_>, pass: &str, tensors: usize, call: impl FnMut()) -> BenchRow {
    let times = Times::of_calls(run.repeats(7, 0.2), call);
    let params = Params { pass: Some(pass.to_owned()), ..run.params("f32") };
    let bytes = tensors * run.shape.elements() * size_of::<f32>();
    BenchRow::new(run.name, params, times, None, Some(bytes as f64))
}

/// Times a forward pass and a backward pass, which read and write so many tensors.
fn passes(run: &Run<'_>, tensors: [usize; 2], forward: impl FnMut(), backward: impl FnMut()) -> Vec<BenchRow> {
    vec![row(run, "forward", tensors[0], forward), row(run, "backward", tensors[1], backward)]
}

/// An input, an output, an upstream gradient, and room for a gradient.
fn tensors(run: &Run<'_>) -> [Vec<f32>; 4] {
    let elements = run.shape.elements();
    [numbers(elements, 1), vec![0.0; elements], numbers(elements, 2), vec![0.0; elements]]
}

/// From `x` and the width to `y`, and from `y`, `dy` and the width to `dx`.
type Rows = (fn(&[f32], usize, &mut [f32]), fn(&[f32], &[f32], usize, &mut [f32]));

fn of_rows(run: &Run<'_>, (value, gradient): Rows) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let mut result = x.clone();
    value(&x, width, &mut result);
    passes(run, [2, 3], || value(&x, width, &mut y), || gradient(&result, &dy, width, &mut dx))
}

/// `softmax`
pub(super) fn softmax(run: &Run<'_>) -> Vec<BenchRow> {
    of_rows(run, (kernel::softmax, kernel::softmax_backward))
}

/// `log_softmax`
pub(super) fn log_softmax(run: &Run<'_>) -> Vec<BenchRow> {
    of_rows(run, (kernel::log_softmax, kernel::log_softmax_backward))
}

/// From `x` to `y`, and from `x` and `dy` to `dx`.
type Activation = (fn(&[f32], &mut [f32]), fn(&[f32], &[f32], &mut [f32]));

fn of_elements(run: &Run<'_>, (value, gradient): Activation) -> Vec<BenchRow> {
    let [x, mut y, dy, mut dx] = tensors(run);
    passes(run, [2, 3], || value(&x, &mut y), || gradient(&x, &dy, &mut dx))
}

/// `gelu`
pub(super) fn gelu(run: &Run<'_>) -> Vec<BenchRow> {
    of_elements(run, (activation::gelu, activation::gelu_backward))
}

/// `gelu_tanh`
pub(super) fn gelu_tanh(run: &Run<'_>) -> Vec<BenchRow> {
    of_elements(run, (activation::gelu_tanh, activation::gelu_tanh_backward))
}

/// `silu`
pub(super) fn silu(run: &Run<'_>) -> Vec<BenchRow> {
    of_elements(run, (activation::silu, activation::silu_backward))
}

/// `swiglu`
pub(super) fn swiglu(run: &Run<'_>) -> Vec<BenchRow> {
    let [gate, mut y, dy, mut d_gate] = tensors(run);
    let (up, mut d_up) = (numbers(gate.len(), 3), vec![0.0; gate.len()]);
    passes(
        run,
        [3, 5],
        || activation::swiglu(&gate, &up, &mut y),
        || activation::swiglu_backward(&gate, &up, &dy, &mut d_gate, &mut d_up),
    )
}

/// `bias_gelu`
pub(super) fn bias_gelu(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let (bias, mut d_bias) = (numbers(width, 3), vec![0.0; width]);
    passes(
        run,
        [2, 3],
        || activation::bias_gelu(&x, &bias, &mut y),
        || activation::bias_gelu_backward(&x, &bias, &dy, &mut dx, &mut d_bias),
    )
}

/// `layer_norm`, with weight and bias
pub(super) fn layer_norm(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let [weight, bias] = [3, 4].map(|seed| numbers(width, seed));
    let [mut d_weight, mut d_bias] = [(); 2].map(|()| vec![0.0; width]);
    passes(
        run,
        [2, 3],
        || norm::layer_norm(&x, &weight, Some(&bias), EPSILON, &mut y),
        || norm::layer_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight, Some(&mut d_bias)),
    )
}

/// `add_layer_norm`, with weight and bias; the gradient is that of the norm alone
pub(super) fn add_layer_norm(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let (residual, mut sum) = (numbers(x.len(), 5), x.clone());
    let [weight, bias] = [3, 4].map(|seed| numbers(width, seed));
    let [mut d_weight, mut d_bias] = [(); 2].map(|()| vec![0.0; width]);
    let forward = row(run, "forward", 4, || {
        norm::add_layer_norm(&x, &residual, &weight, Some(&bias), EPSILON, &mut sum, &mut y);
    });
    let backward = row(run, "backward", 3, || {
        let (d_weight, d_bias) = (&mut d_weight, Some(&mut d_bias[..]));
        norm::add_layer_norm_backward(&sum, &weight, EPSILON, &dy, None, &mut dx, d_weight, d_bias);
    });
    vec![forward, backward]
}

/// `rms_norm`
pub(super) fn rms_norm(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let (weight, mut d_weight) = (numbers(width, 3), vec![0.0; width]);
    passes(
        run,
        [2, 3],
        || norm::rms_norm(&x, &weight, EPSILON, &mut y),
        || norm::rms_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight),
    )
}

/// `dropout`; the mask is computed again for the gradient
pub(super) fn dropout(run: &Run<'_>) -> Vec<BenchRow> {
    let [x, mut y, dy, mut dx] = tensors(run);
    let pass = |x: &[f32], y: &mut [f32]| drop_values::dropout(x, DROPPED, 1, y);
    passes(run, [2, 2], || pass(&x, &mut y), || pass(&dy, &mut dx))
}

/// `adamw`, one parameter
pub(super) fn adamw(run: &Run<'_>) -> Vec<BenchRow> {
    let [mut weight, mut first, gradient, mut second] = tensors(run);
    let mut step = 0;
    let call = || {
        step += 1;
        let (weight, first, second) = (&mut weight[..], &mut first[..], &mut second[..]);
        AdamW::default().step(step, vec![Parameter { weight, gradient: &gradient, first, second }]);
    };
    vec![row(run, "step", 7, call)]
}

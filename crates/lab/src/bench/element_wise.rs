//! Softmax, GELU and norms, forward and backward, over `f32`.

use headwise_kernels::{activation, norm, softmax as kernel};

use super::attention::numbers;
use super::plan::Run;
use super::{BenchRow, Params, Times};

/// As the norms of most models.
const EPSILON: f32 = 1e-5;

/// Times a forward pass, which reads one tensor and writes one, and a backward pass, which reads two and writes one.
fn passes(run: &Run<'_>, mut forward: impl FnMut(), mut backward: impl FnMut()) -> Vec<BenchRow> {
    let row = |pass: &str, call: &mut dyn FnMut(), tensors: usize| {
        let times = Times::of_calls(run.repeats(7, 0.2), call);
        let params = Params {
            shape: Some(run.shape.to_string()),
            dtype: Some("f32".to_owned()),
            pass: Some(pass.to_owned()),
            threads: run.threads,
            ..Params::default()
        };
        let bytes = tensors * run.shape.elements() * size_of::<f32>();
        BenchRow::new(run.name, params, times, None, Some(bytes as f64))
    };
    vec![row("forward", &mut forward, 2), row("backward", &mut backward, 3)]
}

/// An input, an output, an upstream gradient, and room for a gradient.
fn tensors(run: &Run<'_>) -> [Vec<f32>; 4] {
    let elements = run.shape.elements();
    [numbers(elements, 1), vec![0.0; elements], numbers(elements, 2), vec![0.0; elements]]
}

/// `softmax`
pub(super) fn softmax(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let mut weights = x.clone();
    kernel::softmax(&x, width, &mut weights);
    let forward = || kernel::softmax(&x, width, &mut y);
    passes(run, forward, || kernel::softmax_backward(&weights, &dy, width, &mut dx))
}

/// `gelu`
pub(super) fn gelu(run: &Run<'_>) -> Vec<BenchRow> {
    let [x, mut y, dy, mut dx] = tensors(run);
    passes(run, || activation::gelu(&x, &mut y), || activation::gelu_backward(&x, &dy, &mut dx))
}

/// `layer_norm`, with weight and bias
pub(super) fn layer_norm(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let [weight, bias] = [3, 4].map(|seed| numbers(width, seed));
    let [mut d_weight, mut d_bias] = [(); 2].map(|()| vec![0.0; width]);
    passes(
        run,
        || norm::layer_norm(&x, &weight, Some(&bias), EPSILON, &mut y),
        || norm::layer_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight, Some(&mut d_bias)),
    )
}

/// `rms_norm`
pub(super) fn rms_norm(run: &Run<'_>) -> Vec<BenchRow> {
    let ([x, mut y, dy, mut dx], width) = (tensors(run), run.shape.width());
    let (weight, mut d_weight) = (numbers(width, 3), vec![0.0; width]);
    passes(
        run,
        || norm::rms_norm(&x, &weight, EPSILON, &mut y),
        || norm::rms_norm_backward(&x, &weight, EPSILON, &dy, &mut dx, &mut d_weight),
    )
}

//! Linear recurrences of training, for the mixers that differ in their decay. Inputs are uniform with variance 1; outputs and
//! gradients are allocated before the clock starts. Rows that say `composed` are of the same chunks by Burn's own operations.

use burn::tensor::{Device, Tensor, TensorData};
use headwise_kernels::attention::View4;
use headwise_kernels::linear::{CHUNK, Decay, Dims, Gradients, Inputs, Recurrence, Upstream, backward, forward, steps};

use headwise_ops as ops;

use super::attention::numbers;
use super::plan::Run;
use super::{BenchRow, Params, Times};

/// `linear_attention`: no decay, outputs divided by the sum of the weights.
pub(super) fn linear_attention(run: &Run<'_>) -> Vec<BenchRow> {
    rows(run, true, &Decay::None, ops::Decay::None)
}

/// `retention`: a decay for each head.
pub(super) fn retention(run: &Run<'_>) -> Vec<BenchRow> {
    let [_, heads, _, _] = run.shape.sides();
    let decays: Vec<f32> = (0..heads).map(|head| (-(-5.0 - head as f32).exp2()).ln_1p()).collect();
    let composed = Tensor::from_data(TensorData::new(decays.clone(), [heads]), &Device::flex());
    rows(run, false, &Decay::Head(&decays), ops::Decay::Head(composed))
}

/// `gla`: a decay for each channel of the keys.
pub(super) fn gla(run: &Run<'_>) -> Vec<BenchRow> {
    let [_, heads, tokens, head_dim] = run.shape.sides();
    // As of a new mixer: a sixteenth of the logarithm of a sigmoid.
    let decay = |x: f32| -((-x).exp().ln_1p()) / 16.0;
    let decays: Vec<f32> = numbers(run.shape.elements(), 5).into_iter().map(decay).collect();
    let composed = tensor(&decays, run, &Device::flex().autodiff()).require_grad();
    let decay = Decay::Channel(View4::contiguous(&decays, heads, tokens, head_dim));
    rows(run, false, &decay, ops::Decay::Channel(composed))
}

/// A tensor of the run's shape.
fn tensor(data: &[f32], run: &Run<'_>, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(data.to_vec(), run.shape.sides::<4>()), device)
}

/// Forward alone, forward with backward, and token by token, as an engine reads; of short sequences also what is composed.
fn rows(run: &Run<'_>, normalise: bool, decay: &Decay<'_>, composed_decay: ops::Decay) -> Vec<BenchRow> {
    let [batch, heads, tokens, head_dim] = run.shape.sides();
    let dims = Dims { batch, heads, tokens, key_dim: head_dim, value_dim: head_dim };
    let spec = Recurrence { scale: 1.0 / (head_dim as f32).sqrt(), normalise };
    let [query, key, value, d_out] = [1, 2, 3, 4].map(|seed| numbers(run.shape.elements(), seed));
    // Sums of weights that are divided by are positive.
    let positive = |x: Vec<f32>| if normalise { x.into_iter().map(f32::abs).collect() } else { x };
    let (query, key) = (positive(query), positive(key));
    let view = |data| View4::contiguous(data, heads, tokens, head_dim);
    let offsets = [0, tokens];
    let inputs = Inputs {
        query: view(&query),
        key: view(&key),
        value: view(&value),
        decay: *decay,
        offsets: &offsets,
        state: None,
    };
    let mut out = vec![0.0; dims.output()];
    let mut states = vec![0.0; inputs.states(&spec, &dims)];
    let mut chunk_states = vec![0.0; inputs.chunk_states(&spec, &dims)];
    let mut gradients = [(); 4].map(|()| vec![0.0; dims.output()]);
    let mut d_states = states.clone();
    // The others' decays are constants.
    let gla = matches!(decay, Decay::Channel(_));

    let params = |pass: &str| Params { pass: Some(pass.to_owned()), ..run.params("f32") };
    let times = Times::of_calls(run.repeats(7, 0.5), || forward(&spec, &dims, &inputs, &mut out, &mut states, None));
    let first = BenchRow::new(run.name, params("forward"), times, Some(flops(&dims, [2, 2])), None);
    let times = Times::of_calls(run.repeats(7, 0.5), || {
        forward(&spec, &dims, &inputs, &mut out, &mut states, Some(&mut chunk_states));
        let upstream = Upstream { out: &out, chunk_states: &chunk_states, d_out: view(&d_out), d_states: None };
        let [query, key, value, decays] = &mut gradients;
        let decay = gla.then_some(&mut decays[..]);
        let gradients = Gradients { query, key, value, decay, state: &mut d_states };
        backward(&spec, &dims, &inputs, &upstream, gradients);
    });
    let second = BenchRow::new(run.name, params("train"), times, Some(flops(&dims, [7, 6])), None);
    let times = Times::of_calls(run.repeats(7, 0.5), || {
        let mut each: Vec<&mut [f32]> = states.chunks_exact_mut(heads * dims.state(&spec)).collect();
        each.iter_mut().for_each(|state| state.fill(0.0));
        steps(&spec, &dims, &inputs, &mut each, &mut out);
    });
    let definition = (5 * batch * heads * tokens * head_dim * head_dim) as f64;
    let third = BenchRow::new(run.name, params("steps"), times, Some(definition), None);
    let mut rows = vec![first, second, third];
    if tokens <= COMPOSED {
        let [forward, train] = composed(run, &spec, [&query, &key, &value], composed_decay, &d_out);
        rows.push(BenchRow::new(run.name, params("forward composed"), forward, Some(flops(&dims, [2, 2])), None));
        rows.push(BenchRow::new(run.name, params("train composed"), train, Some(flops(&dims, [7, 6])), None));
    }
    rows
}

/// More tokens than these by Burn's own operations take minutes.
const COMPOSED: usize = 4096;

/// Times of Burn's own operations, forward alone and with the backward pass.
fn composed(run: &Run<'_>, spec: &Recurrence, inputs: [&[f32]; 3], decay: ops::Decay, d_out: &[f32]) -> [Times; 2] {
    let [_, _, tokens, _] = run.shape.sides();
    let (offsets, plain, tracked) = ([0, tokens], Device::flex(), Device::flex().autodiff());
    let outputs = |[query, key, value]: [Tensor<4>; 3], decay| {
        ops::composed_linear_recurrence(query, key, value, decay, spec, &offsets, None).output
    };
    let constant = match decay.clone() {
        ops::Decay::Channel(decay) => ops::Decay::Channel(decay.inner()),
        other => other,
    };
    let constants = inputs.map(|data| tensor(data, run, &plain));
    let forward = Times::of_calls(run.repeats(3, 0.5), || drop(outputs(constants.clone(), constant.clone())));
    let leaves = inputs.map(|data| tensor(data, run, &tracked).require_grad());
    let d_out = tensor(d_out, run, &tracked);
    let train = Times::of_calls(run.repeats(3, 0.5), || {
        drop((outputs(leaves.clone(), decay.clone()) * d_out.clone()).sum().backward());
    });
    [forward, train]
}

/// Operations of so many products inside chunks, of which half lies before the diagonal, and with the state.
fn flops(dims: &Dims, [inside, state]: [usize; 2]) -> f64 {
    let Dims { batch, heads, tokens, key_dim, .. } = *dims;
    let per_token = inside * CHUNK * key_dim + state * 2 * key_dim * key_dim;
    (batch * heads * tokens * per_token) as f64
}

//! Attention of Burn's own operations, with all weights formed: the definition in so many words.

use burn::tensor::{Bool, Tensor, TensorData};
use headwise_kernels::attention::AttnSpec;

use super::Attended;

pub(super) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    spec: &AttnSpec,
) -> Attended {
    let heads = query.dims()[1];
    let scores = scores(query, key, bias, spec);
    let sink = spec.sink_logits.as_ref().map(|logits| per_head(logits, &scores));

    // A shift of 0 where nothing is visible keeps the exponentials of −∞ at zero.
    let mut shift = scores.clone().detach().max_dim(3);
    if let Some(sink) = &sink {
        shift = shift.max_pair(sink.clone());
    }
    let empty = shift.clone().equal_elem(f32::NEG_INFINITY);
    let shift = shift.mask_fill(empty.clone(), 0.0);
    let exponentials = (scores.clone() - shift.clone()).exp();
    let mut sum = exponentials.clone().sum_dim(3);
    if let Some(sink) = &sink {
        sum = sum + (sink.clone() - shift.clone()).exp();
    }
    let sum = sum.mask_fill(empty.clone(), 1.0);
    let weights = exponentials / sum.clone();
    let lse = sum.log() + shift;

    let entropy = spec.want.entropy.then(|| {
        let hidden = scores.clone().equal_elem(f32::NEG_INFINITY);
        let mut mean_score = (weights.clone() * scores.mask_fill(hidden, 0.0)).sum_dim(3);
        if let Some(sink) = sink {
            mean_score = mean_score + (sink.clone() - lse.clone()).exp() * sink;
        }
        (lse.clone() - mean_score).squeeze_dim::<3>(3)
    });
    Attended {
        output: weights.clone().matmul(spread(value, heads)),
        lse: spec.want.lse.then(|| lse.mask_fill(empty, f32::NEG_INFINITY).squeeze_dim(3)),
        entropy,
        col_sum: spec.want.col_sum.then(|| weights.sum_dim(2).squeeze_dim(2)),
    }
}

/// The scores `[batch, heads, queries, keys]`, −∞ where a key is hidden.
fn scores(query: Tensor<4>, key: Tensor<4>, bias: Option<Tensor<4>>, spec: &AttnSpec) -> Tensor<4> {
    let ([_, heads, queries, _], keys) = (query.dims(), key.dims()[2]);
    let mut scores = query.matmul(spread(key, heads).swap_dims(2, 3)) * spec.scale;
    if let Some(cap) = spec.softcap {
        scores = (scores / cap).tanh() * cap;
    }
    if let Some(slopes) = &spec.alibi {
        let distances = pairs(queries, keys, |position, key| (position - key).unsigned_abs() as f32).collect();
        let distances = TensorData::new::<f32, _>(distances, [1, 1, queries, keys]);
        let distances = Tensor::from_data(distances, (&scores.device(), scores.dtype()));
        scores = scores.clone() - per_head(slopes, &scores) * distances;
    }
    if let Some(bias) = bias {
        scores = scores + bias;
    }
    let lists = spec.blocks.as_ref().map_or(1, |mask| mask.heads());
    let hidden = |head| pairs(queries, keys, move |position, key| !sees(spec, head, position, key));
    let hidden = (0..lists).flat_map(hidden).collect();
    let hidden = TensorData::new::<bool, _>(hidden, [1, lists, queries, keys]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &scores.device()).expand(scores.dims());
    scores.mask_fill(hidden, f32::NEG_INFINITY)
}

/// Whether a query of `head` at `position` sees `key`.
fn sees(spec: &AttnSpec, head: usize, position: isize, key: isize) -> bool {
    if spec.blocks.as_ref().is_some_and(|mask| !mask.sees(head, position, key.unsigned_abs())) {
        return false;
    }
    let not_later = key <= position || !(spec.causal || spec.window.is_some());
    let near = spec.window.is_none_or(|window| position.abs_diff(key) < window) || key.unsigned_abs() < spec.sinks_keep;
    not_later && near
}

/// `f(position, key)` for every query and key; the last query stands at the last key.
fn pairs<T>(queries: usize, keys: usize, f: impl Fn(isize, isize) -> T) -> impl Iterator<Item = T> {
    let (queries, keys) = (queries as isize, keys as isize);
    let positions = keys - queries..keys;
    positions.flat_map(move |position| (0..keys).map(move |key| (position, key))).map(move |(p, k)| f(p, k))
}

/// A constant per head, `[1, heads, 1, 1]`, like `scores` otherwise.
fn per_head(values: &[f32], scores: &Tensor<4>) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [1, values.len(), 1, 1]);
    Tensor::from_data(data, (&scores.device(), scores.dtype()))
}

/// Repeats each key/value head for the query heads that share it.
fn spread(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, kv_heads, tokens, width] = x.dims();
    let shape = [batch, kv_heads, heads / kv_heads, tokens, width];
    x.unsqueeze_dim::<5>(2).expand(shape).reshape([batch, heads, tokens, width])
}

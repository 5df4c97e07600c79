//! Softmax attention.

use burn::tensor::{Bool, Tensor, TensorData, activation};
use headwise_kernels::attention::AttnSpec;

/// What attention returns.
pub struct Attended {
    /// `[batch, heads, queries, head_dim]`
    pub output: Tensor<4>,
}

/// Attention of `query` `[batch, heads, queries, head_dim]` to `key`, `value` `[batch, kv_heads, keys, head_dim]`, with an
/// optional `bias` that broadcasts to `[batch, heads, queries, keys]`.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, bias: Option<Tensor<4>>, spec: &AttnSpec) -> Attended {
    let ([_, heads, queries, _], [_, kv_heads, keys, _]) = (query.dims(), key.dims());
    let device = query.device();
    let spread = |x: Tensor<4>| {
        let [batch, _, tokens, width] = x.dims();
        let group = heads / kv_heads;
        x.unsqueeze_dim::<5>(2).expand([batch, kv_heads, group, tokens, width]).reshape([batch, heads, tokens, width])
    };
    let mut scores = query.matmul(spread(key).swap_dims(2, 3)) * spec.scale;
    if let Some(cap) = spec.softcap {
        scores = (scores / cap).tanh() * cap;
    }
    if let Some(bias) = bias {
        scores = scores + bias;
    }
    let hidden: Vec<bool> = (0..queries)
        .flat_map(|row| {
            let position = keys + row - queries;
            (0..keys).map(move |key| {
                (spec.causal && key > position)
                    || spec.window.is_some_and(|window| key >= spec.sinks_keep && key + window <= position)
            })
        })
        .collect();
    let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [queries, keys]), &device).unsqueeze::<4>();
    let weights = activation::softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    Attended { output: weights.matmul(spread(value)) }
}

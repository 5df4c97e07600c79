//! Softmax attention with everything an [`AttnSpec`] can ask for.
//!
//! `output_i = Σ_j p_ij value_j`, `p_ij = exp(s_ij - lse_i)`, `lse_i = ln Σ_j exp(s_ij)`, with the scores `s_ij` that the
//! specification describes. A query that sees no key gives zeros, an `lse` of −∞, and no gradient.

mod composed;
mod fused;
mod packed;

use burn::tensor::Tensor;
use headwise_kernels::attention::{AttnSpec, Dims};

use crate::kernel_op::kernels_serve;
use crate::offsets;

/// What attention returns.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[batch, heads, queries, value_dim]`.
    pub output: Tensor<4>,
    /// The log-sum-exp of the scores, sink logit included: `[batch, heads, queries]`, differentiable, if [`AttnSpec::want`]
    /// names it.
    pub lse: Option<Tensor<3>>,
    /// `-Σ_j p_ij ln p_ij`, the sink logit counted as a key: `[batch, heads, queries]`, if [`AttnSpec::want`] names it.
    pub entropy: Option<Tensor<3>>,
    /// The weight each key receives, `Σ_i p_ij`: `[batch, heads, keys]`, if [`AttnSpec::want`] names it.
    pub col_sum: Option<Tensor<3>>,
}

/// Attention of `query` `[batch, heads, queries, head_dim]` to `key` `[batch, kv_heads, keys, head_dim]` and `value`
/// `[batch, kv_heads, keys, value_dim]`, with an optional `bias` that broadcasts to `[batch, heads, queries, keys]`.
///
/// The last query stands at the last key. Gradients reach `query`, `key`, `value` and `bias` from `output` and `lse`. Inputs
/// may be views with other strides, such as a projection with its heads swapped to the front; they are not copied. The output is
/// such a view: with its heads swapped back, `[batch, queries, heads, value_dim]`, it is what a projection takes. With
/// `entropy` or `col_sum` wanted, all weights are formed, `[batch, heads, queries, keys]`; without, memory is linear in
/// the tokens.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    spec: &AttnSpec,
) -> Attended {
    let dims = dims_of(&query, &key, &value, bias.as_ref(), spec);
    // No kernel returns these statistics for whole tensors.
    let weights_wanted = spec.want.entropy || spec.want.col_sum;
    if kernels_serve(&query) && !weights_wanted {
        fused::attention(query, key, value, bias, spec, dims)
    } else {
        composed::attention(query, key, value, bias, spec)
    }
}

/// As [`attention`] of every text alone, without a bias and with nothing but the output: texts are the rows between `offsets`
/// `[0, …, tokens]` of all three inputs. What texts would see of each other costs nothing, and no text is copied.
///
/// # Panics
/// If the shapes do not fit each other, or the offsets do not ascend from 0 to the number of tokens.
pub fn packed_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    offsets: &[usize],
    spec: &AttnSpec,
) -> Tensor<4> {
    let dims = dims_of(&query, &key, &value, None, spec);
    assert_eq!(dims.queries, dims.keys, "packed texts have a key for every query");
    offsets::check(offsets, dims.keys);
    if kernels_serve(&query) {
        return packed::attention([query, key, value], offsets, spec, dims);
    }
    let text = |ends: &[usize]| {
        let rows = |x: &Tensor<4>| x.clone().narrow(2, ends[0], ends[1] - ends[0]);
        composed::attention(rows(&query), rows(&key), rows(&value), None, spec).output
    };
    let texts: Vec<Tensor<4>> = offsets.windows(2).filter(|ends| ends[0] < ends[1]).map(text).collect();
    if texts.is_empty() { value } else { Tensor::cat(texts, 2) }
}

/// The sizes of all tensors, which must agree.
fn dims_of(query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>, bias: Option<&Tensor<4>>, spec: &AttnSpec) -> Dims {
    let ([batch, heads, queries, head_dim], [_, kv_heads, keys, _]) = (query.dims(), key.dims());
    let value_dim = value.dims()[3];
    assert_eq!(
        key.dims(),
        [batch, kv_heads, keys, head_dim],
        "key: [batch, kv_heads, keys, head_dim] to fit the query"
    );
    assert_eq!(
        value.dims(),
        [batch, kv_heads, keys, value_dim],
        "value: [batch, kv_heads, keys, value_dim] to fit the key"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "{heads} query heads do not divide into {kv_heads} key/value heads"
    );
    if let Some(bias) = bias {
        let (found, full) = (bias.dims(), [batch, heads, queries, keys]);
        let broadcasts = found.iter().zip(full).all(|(&found, full)| found == 1 || found == full);
        assert!(broadcasts, "a bias of {found:?} does not broadcast to [batch, heads, queries, keys] = {full:?}");
    }
    for (per_head, name) in [(&spec.alibi, "ALiBi slopes"), (&spec.sink_logits, "sink logits")] {
        let count = per_head.as_ref().map_or(heads, |values| values.len());
        assert_eq!(count, heads, "{name}: one for each query head");
    }
    Dims { batch, heads, kv_heads, queries, keys, head_dim, value_dim }
}

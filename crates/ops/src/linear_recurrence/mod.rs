//! Linear recurrences: attention whose memory is a matrix that decays, in time linear in the tokens.
//!
//! `S_t = diag(exp(decay_t)) S_{t-1} + key_t valueᵀ_t`, `output_t = scale · S_tᵀ query_t`, and with a normaliser
//! `output_t = S_tᵀ query_t / (query_t · Σ key + 1e-10)`. Linear attention, retention and gated linear attention differ in the
//! decay alone.

mod composed;
mod fused;

use burn::tensor::Tensor;
use headwise_kernels::linear::Dims;
pub use headwise_kernels::linear::Recurrence;

use crate::kernel_op::kernels_serve;
use crate::offsets;

/// The log-decays, all at most 0; −∞ forgets what was before.
#[derive(Clone, Debug)]
pub enum Decay {
    /// Nothing is forgotten.
    None,
    /// `[heads]`, the same at every token.
    Head(Tensor<1>),
    /// `[batch, heads, tokens]`.
    Token(Tensor<3>),
    /// `[batch, heads, tokens, key_dim]`.
    Channel(Tensor<4>),
}

/// What a linear recurrence returns.
#[derive(Clone, Debug)]
pub struct Recurred {
    /// `[batch, heads, tokens, value_dim]`; in memory the heads of a token lie side by side, as a projection wants them.
    pub output: Tensor<4>,
    /// The states after the last tokens, `[batch, sequences, heads, key_dim, columns]`, differentiable. The columns are
    /// those of the values, then one with the sum of the keys if outputs are normalised.
    pub state: Tensor<5>,
}

/// The recurrence over `query` and `key` `[batch, heads, tokens, key_dim]` and `value` `[batch, heads, tokens, value_dim]`.
///
/// Sequences start at `offsets` `[0, …, tokens]`, each from its own `state` (as [`Recurred::state`]), or from zero. Gradients reach
/// all tensors. Inputs may be views with other strides, such as a projection with its heads swapped to the front; they
/// are not copied.
///
/// # Panics
/// If the shapes do not fit each other, or the offsets do not ascend from 0 to the number of tokens.
pub fn linear_recurrence(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    decay: Decay,
    spec: &Recurrence,
    offsets: &[usize],
    state: Option<Tensor<5>>,
) -> Recurred {
    let dims = checked_dims([&query, &key, &value], &decay, spec, offsets, state.as_ref());
    if kernels_serve(&query) {
        fused::linear_recurrence([query, key, value], decay, spec, offsets, state, dims)
    } else {
        composed::linear_recurrence([query, key, value], decay, spec, offsets, state)
    }
}

/// As [`linear_recurrence`], but of Burn's own operations for every backend and type: what the kernels are measured against.
///
/// # Panics
/// As [`linear_recurrence`].
pub fn composed_linear_recurrence(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    decay: Decay,
    spec: &Recurrence,
    offsets: &[usize],
    state: Option<Tensor<5>>,
) -> Recurred {
    checked_dims([&query, &key, &value], &decay, spec, offsets, state.as_ref());
    composed::linear_recurrence([query, key, value], decay, spec, offsets, state)
}

/// The sizes of all tensors, which must agree.
fn checked_dims(
    [query, key, value]: [&Tensor<4>; 3],
    decay: &Decay,
    spec: &Recurrence,
    offsets: &[usize],
    state: Option<&Tensor<5>>,
) -> Dims {
    let ([batch, heads, tokens, key_dim], value_dim) = (query.dims(), value.dims()[3]);
    assert_eq!(key.dims(), query.dims(), "key: the shape of the query");
    assert_eq!(value.dims(), [batch, heads, tokens, value_dim], "value: [batch, heads, tokens, value_dim]");
    match decay {
        Decay::None => {}
        Decay::Head(decay) => assert_eq!(decay.dims(), [heads], "decay: [heads]"),
        Decay::Token(decay) => assert_eq!(decay.dims(), [batch, heads, tokens], "decay: [batch, heads, tokens]"),
        Decay::Channel(decay) => assert_eq!(decay.dims(), query.dims(), "decay: the shape of the query"),
    }
    offsets::check(offsets, tokens);
    if let Some(state) = state {
        let expected = [batch, offsets.len() - 1, heads, key_dim, value_dim + usize::from(spec.normalise)];
        assert_eq!(state.dims(), expected, "state: [batch, sequences, heads, key_dim, columns]");
    }
    Dims { batch, heads, tokens, key_dim, value_dim }
}

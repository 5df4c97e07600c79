//! What goes into the backward pass beside the inputs, and what comes out of it.

use super::view::{View4, View4Mut};

/// What the forward pass computed, and the gradients of the loss with respect to it.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The output of [`forward`](super::forward).
    pub out: View4<'a>,
    /// The log-sum-exp of [`forward`](super::forward), contiguous.
    pub lse: &'a [f32],
    /// `[batch, heads, queries, value_dim]`.
    pub d_out: View4<'a>,
    /// `[batch, heads, queries]`, if the loss uses the log-sum-exp.
    pub d_lse: Option<&'a [f32]>,
}

/// Where the gradients of queries, keys and values go; every element is written.
#[derive(Debug)]
pub struct InputGradients<'a> {
    /// `[batch, heads, queries, head_dim]`.
    pub query: View4Mut<'a>,
    /// `[batch, kv_heads, keys, head_dim]`.
    pub key: View4Mut<'a>,
    /// `[batch, kv_heads, keys, value_dim]`.
    pub value: View4Mut<'a>,
}

/// Gradients of the parameters of the scores, contiguous.
#[derive(Clone, Debug, Default)]
pub struct ScoreGradients {
    /// `[batch | 1, heads | 1, queries | 1, keys]`, 1 where the bias has stride 0; if asked for.
    pub bias: Option<Vec<f32>>,
    /// One per head, if there are sink logits.
    pub sink_logits: Option<Vec<f32>>,
    /// One per head, if there are ALiBi slopes.
    pub slopes: Option<Vec<f32>>,
}

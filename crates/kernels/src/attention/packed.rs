//! Attention of texts that lie one after the other in their rows: each sees itself alone, and nothing else costs anything.

use std::ops::Range;

use super::backward::backward;
use super::forward::{Inputs, forward};
use super::spec::AttnSpec;
use super::tensors::{InputGradients, Upstream};
use super::view::{Dims, View4, View4Mut};

/// What [`forward_packed`] computed, and the gradient of the loss with respect to it.
#[derive(Clone, Copy, Debug)]
pub struct PackedUpstream<'a> {
    /// The output.
    pub out: &'a [f32],
    /// The log-sum-exp.
    pub lse: &'a [f32],
    /// `[batch, heads, tokens, value_dim]`.
    pub d_out: View4<'a>,
}

/// Where the gradients of packed texts go; every element is written.
#[derive(Debug)]
pub struct PackedGradients<'a> {
    /// `[batch, tokens, heads, head_dim]`.
    pub query: &'a mut [f32],
    /// `[batch, tokens, kv_heads, head_dim]`.
    pub key: &'a mut [f32],
    /// `[batch, tokens, kv_heads, value_dim]`.
    pub value: &'a mut [f32],
}

/// As [`forward`](super::forward()) of every text alone, which are the rows between `offsets` `[0, …, tokens]`. Writes
/// `out [batch, tokens, heads, value_dim]` and for [`backward_packed`] the log-sum-exp, as many as batch · heads · tokens.
///
/// # Panics
/// If there is a bias, or not a key for every query; if the offsets do not ascend from 0 to the tokens; as
/// [`forward`](super::forward()).
pub fn forward_packed(
    spec: &AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'_>,
    offsets: &[usize],
    out: &mut [f32],
    lse: &mut [f32],
) {
    check(dims, inputs, offsets);
    assert_eq!(out.len(), dims.output(), "elements of the output");
    assert_eq!(lse.len(), dims.lse(), "elements of the log-sum-exp");
    let width = dims.heads * dims.value_dim;
    for text in texts(dims, offsets) {
        let out = View4Mut::tokens_first(&mut out[text.elements(width)], dims.heads, text.rows.len(), dims.value_dim);
        forward(spec, &text.dims(dims), &text.inputs(inputs), out, &mut lse[text.elements(dims.heads)]);
    }
}

/// The gradients of [`forward_packed`].
///
/// # Panics
/// As [`forward_packed`].
pub fn backward_packed(
    spec: &AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'_>,
    offsets: &[usize],
    upstream: &PackedUpstream<'_>,
    gradients: PackedGradients<'_>,
) {
    check(dims, inputs, offsets);
    assert_eq!(upstream.out.len(), dims.output(), "elements of the output");
    assert_eq!(upstream.lse.len(), dims.lse(), "elements of the log-sum-exp");
    upstream.d_out.check("d_out", [dims.batch, dims.heads, dims.queries], dims.value_dim);
    let [query, key, value] =
        [(dims.heads, dims.head_dim), (dims.kv_heads, dims.head_dim), (dims.kv_heads, dims.value_dim)];
    let rows = dims.batch * dims.queries;
    for (name, found, (heads, width)) in [
        ("queries", gradients.query.len(), query),
        ("keys", gradients.key.len(), key),
        ("values", gradients.value.len(), value),
    ] {
        assert_eq!(found, rows * heads * width, "elements of the gradient of the {name}");
    }
    for text in texts(dims, offsets) {
        let width = dims.heads * dims.value_dim;
        let out = &upstream.out[text.elements(width)];
        let of_text = Upstream {
            out: View4 { data: out, strides: [out.len(), dims.value_dim, width] },
            lse: &upstream.lse[text.elements(dims.heads)],
            d_out: text.view(upstream.d_out),
            d_lse: None,
        };
        let gradients = InputGradients {
            query: text.view_mut(gradients.query, query),
            key: text.view_mut(gradients.key, key),
            value: text.view_mut(gradients.value, value),
        };
        backward(spec, &text.dims(dims), &text.inputs(inputs), &of_text, gradients, false);
    }
}

/// Panics unless texts can be cut out of the inputs.
fn check(dims: &Dims, inputs: &Inputs<'_>, offsets: &[usize]) {
    assert_eq!(dims.queries, dims.keys, "packed texts have a key for every query");
    assert!(inputs.bias.is_none(), "packed texts have no bias");
    inputs.check(dims);
    let (ascending, ends) = (offsets.is_sorted(), (offsets.first(), offsets.last()));
    assert!(ascending && ends == (Some(&0), Some(&dims.keys)), "offsets {offsets:?} of {} tokens", dims.keys);
}

/// The rows of one text.
struct Text {
    batch: usize,
    /// Rows of all batches together before this one.
    before: usize,
    rows: Range<usize>,
}

/// All texts that have rows.
fn texts<'a>(dims: &Dims, offsets: &'a [usize]) -> impl Iterator<Item = Text> + use<'a> {
    let tokens = dims.keys;
    (0..dims.batch).flat_map(move |batch| {
        let texts = offsets.windows(2).map(move |ends| Text { batch, before: batch * tokens, rows: ends[0]..ends[1] });
        texts.filter(|text| !text.rows.is_empty())
    })
}

impl Text {
    /// Where its rows are in a tensor `[batch, tokens, width]`.
    fn elements(&self, width: usize) -> Range<usize> {
        (self.before + self.rows.start) * width..(self.before + self.rows.end) * width
    }

    fn dims(&self, dims: &Dims) -> Dims {
        Dims { batch: 1, queries: self.rows.len(), keys: self.rows.len(), ..*dims }
    }

    fn inputs<'a>(&self, inputs: &Inputs<'a>) -> Inputs<'a> {
        let Inputs { query, key, value, .. } = *inputs;
        Inputs { query: self.view(query), key: self.view(key), value: self.view(value), bias: None }
    }

    fn view<'a>(&self, view: View4<'a>) -> View4<'a> {
        let [batches, _, tokens] = view.strides;
        View4 { data: &view.data[self.batch * batches + self.rows.start * tokens..], ..view }
    }

    fn view_mut<'a>(&self, data: &'a mut [f32], (heads, width): (usize, usize)) -> View4Mut<'a> {
        View4Mut::tokens_first(&mut data[self.elements(heads * width)], heads, self.rows.len(), width)
    }
}

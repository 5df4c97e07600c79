//! Tensors `[batch, heads, tokens, width]` as slices with strides.

use super::rows::Shape;
use super::source::Strided;

/// A tensor `[batch, heads, tokens, width]` whose last dimension is contiguous.
///
/// A stride of 0 repeats its dimension, which is how a bias is broadcast.
#[derive(Clone, Copy, Debug)]
pub struct View4<'a> {
    /// The elements, from the first on.
    pub data: &'a [f32],
    /// Elements from one batch, head and token to the next.
    pub strides: [usize; 3],
}

impl<'a> View4<'a> {
    /// A tensor without gaps.
    pub fn contiguous(data: &'a [f32], heads: usize, tokens: usize, width: usize) -> Self {
        Self { data, strides: [heads * tokens * width, tokens * width, width] }
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, batch: usize, head: usize, token: usize, width: usize) -> &'a [f32] {
        let [batches, heads, tokens] = self.strides;
        &self.data[batch * batches + head * heads + token * tokens..][..width]
    }

    /// Panics unless all rows of `sizes`, `[batch, heads, tokens]`, are inside the slice.
    pub(crate) fn check(&self, name: &str, sizes: [usize; 3], width: usize) {
        if sizes.contains(&0) {
            return;
        }
        let last: usize = sizes.iter().zip(self.strides).map(|(size, stride)| (size - 1) * stride).sum();
        let (needed, there) = (last + width, self.data.len());
        assert!(needed <= there, "{name} {sizes:?} of width {width} needs {needed} elements, there are {there}");
    }

    /// The rows of one head.
    pub(super) fn head(&self, batch: usize, head: usize, tokens: usize, width: usize) -> Strided<'a> {
        let start = (batch * self.strides[0] + head * self.strides[1]).min(self.data.len());
        Strided { data: &self.data[start..], stride: self.strides[2], rows: tokens, width }
    }
}

/// The sizes of attention over whole tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Independent sequences.
    pub batch: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Query tokens; the last query stands at the last key, so query `r` has position `keys - queries + r`.
    pub queries: usize,
    /// Key tokens.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
}

impl Dims {
    /// Heads and widths.
    pub(super) fn shape(&self) -> Shape {
        let Self { heads, kv_heads, head_dim, value_dim, .. } = *self;
        Shape { heads, kv_heads, head_dim, value_dim }
    }

    /// Elements of the output.
    pub fn output(&self) -> usize {
        self.batch * self.heads * self.queries * self.value_dim
    }

    /// Elements of the log-sum-exp.
    pub fn lse(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// The position of query `row`.
    pub(super) fn position(&self, row: usize) -> isize {
        (self.keys + row) as isize - self.queries as isize
    }

    /// The row number of (batch, head, query) in `[batch, heads, queries]`.
    pub(super) fn row(&self, batch: usize, head: usize, query: usize) -> usize {
        (batch * self.heads + head) * self.queries + query
    }
}

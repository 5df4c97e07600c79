//! Tensors `[batch, heads, tokens, width]` as slices with strides.

use super::rows::Shape;
use super::source::Strided;
use crate::disjoint::Disjoint;

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

/// A tensor `[batch, heads, tokens, width]` to write, which fills its slice.
#[derive(Debug)]
pub struct View4Mut<'a> {
    /// The elements.
    pub data: &'a mut [f32],
    /// Elements from one batch, head and token to the next; heads come before tokens or after them.
    pub strides: [usize; 3],
}

impl<'a> View4Mut<'a> {
    /// All tokens of a head side by side: `[batch, heads, tokens, width]` in memory too.
    pub fn heads_first(data: &'a mut [f32], heads: usize, tokens: usize, width: usize) -> Self {
        Self { data, strides: [heads * tokens * width, tokens * width, width] }
    }

    /// All heads of a token side by side, as a projection takes them: `[batch, tokens, heads, width]` in memory.
    pub fn tokens_first(data: &'a mut [f32], heads: usize, tokens: usize, width: usize) -> Self {
        Self { data, strides: [heads * tokens * width, width, heads * width] }
    }

    /// The rows, to be written by several workers. Panics unless they are `sizes`, `[batch, heads, tokens]`, of `width`.
    pub(super) fn share(self, name: &str, [batch, heads, tokens]: [usize; 3], width: usize) -> RowsOut<'a> {
        let Self { data, strides } = self;
        let (length, needed) = (data.len(), batch * heads * tokens * width);
        assert_eq!(length, needed, "elements of {name}");
        let of = |head: usize, token: usize| [heads * tokens * width, head, token];
        let orders = [of(tokens * width, width), of(width, heads * width)];
        assert!(orders.contains(&strides), "{name}: strides {strides:?} are none of {orders:?}");
        RowsOut { data: Disjoint::new(data), strides, width }
    }
}

/// Rows that several workers write, each its own.
pub(super) struct RowsOut<'a> {
    data: Disjoint<'a, f32>,
    strides: [usize; 3],
    width: usize,
}

impl RowsOut<'_> {
    /// One row.
    ///
    /// # Safety
    /// It must exist, and nobody else may use it.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn row(&self, batch: usize, head: usize, token: usize) -> &mut [f32] {
        let [batches, heads, tokens] = self.strides;
        // SAFETY: rows do not overlap, and the caller has this one to itself.
        unsafe { self.data.range(batch * batches + head * heads + token * tokens, self.width) }
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

//! Rows of heads at a stride, as a projection leaves them.

/// Rows to read: head `h` of row `r` starts at `r · stride + h · head_dim`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The elements, from the first row on.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
}

/// Rows to write, laid out as [`Rows`].
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// The elements, from the first row on.
    pub data: &'a mut [f32],
    /// Elements from one row to the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Head `head` of `row`, `width` elements.
    #[inline(always)]
    pub fn head(&self, row: usize, head: usize, width: usize) -> &'a [f32] {
        &self.data[row * self.stride + head * width..][..width]
    }
}

/// Heads and their widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`; head `h` uses key/value head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Elements of a query and of a key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
}

impl Shape {
    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Panics unless the heads divide and nothing is zero.
    pub(super) fn check(&self) {
        let Self { heads, kv_heads, head_dim, value_dim } = *self;
        assert!(head_dim > 0 && value_dim > 0, "head_dim {head_dim} and value_dim {value_dim} must not be 0");
        assert!(
            kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads),
            "{heads} heads do not divide into {kv_heads} key/value heads"
        );
    }
}

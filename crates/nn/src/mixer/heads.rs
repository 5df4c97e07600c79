//! How mixers whose memory is a matrix for each head split channels into heads.

use burn::tensor::Tensor;

/// `x` `[batch, tokens, heads · width]` as `[batch, heads, tokens, width]`, without a copy.
pub(super) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// `x` `[batch, heads, tokens, width]` as `[batch, tokens, heads · width]`.
pub(super) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

/// Whether `width` channels divide into `heads`; a message that names the numbers if not.
pub(super) fn check_heads(name: &str, width: usize, heads: usize) -> Result<(), String> {
    match () {
        () if heads == 0 => Err("heads=0: it must be at least 1".into()),
        () if width == 0 => Err(format!("{name}=0: it must be at least 1")),
        () if !width.is_multiple_of(heads) => Err(format!("{name}={width} does not divide into heads={heads}")),
        () => Ok(()),
    }
}

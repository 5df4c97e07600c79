//! Root-mean-square normalisation.

use burn::tensor::Tensor;

/// `y = x / sqrt(mean(x²) + epsilon) · weight` over the last dimension; `weight` `[dim]`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f32) -> Tensor<D> {
    let mean = x.clone().square().mean_dim(D - 1);
    x / (mean + epsilon).sqrt() * weight.unsqueeze()
}

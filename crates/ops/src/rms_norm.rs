//! RMSNorm: `y = x / √(mean(x²) + ε) · weight` over the last dimension. Zhang and Sennrich 2019, arXiv:1910.07467.

use burn::tensor::Tensor;

use crate::kernel_op::{kernels_serve, output};
use crate::norm::Norm;

/// `x / √(mean(x²) + epsilon) · weight` over the last dimension; `weight` `[dim]`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f32) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "a weight for each channel");
    if !kernels_serve(&x) {
        let mean = x.clone().square().mean_dim(D - 1);
        return x / (mean + epsilon).sqrt() * weight.unsqueeze();
    }
    output(Norm { centred: false, epsilon }, [x.into_dispatch(), weight.into_dispatch()])
}

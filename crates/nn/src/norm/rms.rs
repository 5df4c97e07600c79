//! RMSNorm: scale by the root mean square, no centring. Zhang and Sennrich 2019, arXiv:1910.07467.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// `y = x / sqrt(mean(x²) + ε) · weight` over the last dimension.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale `[dim]`.
    pub weight: Param<Tensor<1>>,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl RmsNorm {
    /// A norm that scales by one.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::ones([dim], device)), epsilon }
    }

    /// A norm with the given scale.
    pub fn from_weight(weight: Vec<f32>, epsilon: f64, device: &Device) -> Self {
        let dim = weight.len();
        Self { weight: Param::from_tensor(headwise_ops::host::tensor(weight, [dim], device)), epsilon }
    }

    /// Normalises `x` `[.., dim]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        headwise_ops::rms_norm(x, self.weight.val(), self.epsilon as f32)
    }
}

//! LayerNorm: centre, scale by the standard deviation. Ba, Kiros and Hinton 2016, arXiv:1607.06450.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// `y = (x - mean(x)) / sqrt(var(x) + ε) · weight + bias` over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale `[dim]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[dim]`.
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// A norm that scales by one and shifts by nothing.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        let [weight, bias] = [Tensor::ones([dim], device), Tensor::zeros([dim], device)].map(Param::from_tensor);
        Self { weight, bias, epsilon }
    }

    /// A norm with the given scale and shift.
    pub fn from_parts(weight: Vec<f32>, bias: Vec<f32>, epsilon: f64, device: &Device) -> Self {
        let parameter = |values: Vec<f32>| {
            let dim = values.len();
            Param::from_tensor(headwise_ops::host::tensor(values, [dim], device))
        };
        Self { weight: parameter(weight), bias: parameter(bias), epsilon }
    }

    /// Normalises `x` `[.., dim]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        headwise_ops::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon as f32)
    }
}

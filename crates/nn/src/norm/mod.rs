//! Normalisation layers.

mod layer;
mod rms;

pub use layer::LayerNorm;
pub use rms::RmsNorm;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Which norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormSpec {
    /// [`RmsNorm`].
    #[default]
    Rms,
    /// [`LayerNorm`].
    Layer,
}

/// A normalisation layer.
#[derive(Module, Debug)]
pub enum Norm {
    /// See [`RmsNorm`].
    Rms(RmsNorm),
    /// See [`LayerNorm`].
    Layer(LayerNorm),
}

impl Norm {
    /// A norm of `dim` channels that scales by one.
    pub fn new(spec: NormSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        match spec {
            NormSpec::Rms => Self::Rms(RmsNorm::new(dim, epsilon, device)),
            NormSpec::Layer => Self::Layer(LayerNorm::new(dim, epsilon, device)),
        }
    }

    /// `x + residual` and that normalised; both `[.., dim]`.
    pub fn forward_sum<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        match self {
            Self::Rms(norm) => headwise_ops::add_rms_norm(x, residual, norm.weight.val(), norm.epsilon as f32),
            Self::Layer(norm) => {
                let (weight, bias) = (norm.weight.val(), norm.bias.val());
                headwise_ops::add_layer_norm(x, residual, weight, Some(bias), norm.epsilon as f32)
            }
        }
    }

    /// Normalises `x` `[.., dim]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

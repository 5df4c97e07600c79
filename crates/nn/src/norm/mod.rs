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

    /// Normalises `x` `[.., dim]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

//! Feed-forward layer: `y = W_down activation(W_up x + b) + c`. Vaswani et al. 2017, arXiv:1706.03762.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Linear;

/// What stands between the two projections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Φ(x)` with the normal distribution function `Φ`.
    #[default]
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `x · sigmoid(x)`
    Silu,
}

/// How to build an [`Mlp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// Inner width.
    pub hidden: usize,
    /// What stands between the two projections.
    #[serde(default)]
    pub activation: Activation,
    /// Both projections have a bias.
    #[serde(default)]
    pub bias: bool,
}

/// A feed-forward layer of two projections.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `dim` to `hidden`, activated.
    pub up: Linear,
    /// `hidden` to `dim`.
    pub down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// A layer from its two projections.
    pub fn new(up: Linear, down: Linear, activation: Activation) -> Self {
        Self { up, down, activation }
    }

    /// Trainable weights at random.
    pub fn random(spec: &MlpSpec, dim: usize, device: &Device) -> Self {
        let up = Linear::random(dim, spec.hidden, spec.bias, device);
        Self::new(up, Linear::random(spec.hidden, dim, spec.bias, device), spec.activation)
    }

    /// `x` `[batch, tokens, dim]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = self.up.forward(x);
        self.down.forward(match self.activation {
            Activation::Gelu => headwise_ops::gelu(hidden),
            Activation::GeluTanh => headwise_ops::gelu_tanh(hidden),
            Activation::Silu => headwise_ops::silu(hidden),
        })
    }
}

//! Gated feed-forward layer: `y = W_down (activation(W_gate x) ⊙ W_up x)`.
//!
//! SwiGLU and GeGLU: Shazeer 2020, arXiv:2002.05202.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Linear;
use crate::adapter::{Adapters, Projection};

/// The activation of the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// `x · sigmoid(x)`
    #[default]
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

headwise_spec::method! {
    /// A feed-forward layer whose inner channels are gated: SwiGLU and GeGLU.
    ///
    /// Shazeer 2020, arXiv:2002.05202.
    pub struct GatedSpec {
        /// Inner width.
        pub hidden: usize = 512,
        /// Activation of the gate.
        pub gate: Gate = Gate::Silu,
    }
}

/// A gated feed-forward layer.
#[derive(Module, Debug)]
pub struct Gated {
    /// `dim` to `hidden`, activated.
    pub gate: Linear,
    /// `dim` to `hidden`.
    pub up: Linear,
    /// `hidden` to `dim`.
    pub down: Linear,
    #[module(skip)]
    activation: Gate,
}

impl Gated {
    /// A layer from its three projections.
    pub fn new(gate: Linear, up: Linear, down: Linear, activation: Gate) -> Self {
        Self { gate, up, down, activation }
    }

    /// Trainable weights at random.
    pub fn random(spec: &GatedSpec, dim: usize, device: &Device) -> Self {
        Self::new(
            Linear::random(dim, spec.hidden, false, device),
            Linear::random(dim, spec.hidden, false, device),
            Linear::random(spec.hidden, dim, false, device),
            spec.gate,
        )
    }

    /// `x` `[batch, tokens, dim]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.forward_with(x, Adapters::default())
    }

    /// The same where rows of `x` `[1, rows, dim]` may have adapters.
    pub fn forward_with(&self, x: Tensor<3>, adapters: Adapters<'_>) -> Tensor<3> {
        let [gate, up] = adapters.forward_each([(Projection::Gate, &self.gate), (Projection::Up, &self.up)], x);
        let hidden = match self.activation {
            Gate::Silu => headwise_ops::swiglu(gate, up),
            Gate::GeluTanh => headwise_ops::geglu_tanh(gate, up),
        };
        adapters.forward(Projection::Down, &self.down, hidden)
    }
}

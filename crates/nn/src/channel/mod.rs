//! Channel mixers: layers that treat every token alone.

mod gated;
mod mlp;

pub use gated::{Gate, Gated, GatedSpec};
pub use mlp::{Activation, Mlp, MlpSpec};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Linear;

/// How to build a [`Channel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChannelSpec {
    /// A [`Gated`].
    Gated(GatedSpec),
    /// An [`Mlp`].
    Mlp(MlpSpec),
}

impl ChannelSpec {
    /// Inner width.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Gated(spec) => spec.hidden,
            Self::Mlp(spec) => spec.hidden,
        }
    }

    /// Projections between `dim` and the inner width.
    pub fn projections(&self) -> usize {
        match self {
            Self::Gated(_) => 3,
            Self::Mlp(_) => 2,
        }
    }
}

/// A channel mixer.
#[derive(Module, Debug)]
pub enum Channel {
    /// See [`Gated`].
    Gated(Gated),
    /// See [`Mlp`].
    Mlp(Mlp),
}

impl Channel {
    /// Trainable weights at random.
    pub fn random(spec: &ChannelSpec, dim: usize, device: &Device) -> Self {
        match spec {
            ChannelSpec::Gated(spec) => Self::Gated(Gated::random(spec, dim, device)),
            ChannelSpec::Mlp(spec) => Self::Mlp(Mlp::random(spec, dim, device)),
        }
    }

    /// The projections, in the order in which a token passes them.
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Gated(channel) => vec![&channel.gate, &channel.up, &channel.down],
            Self::Mlp(channel) => vec![&channel.up, &channel.down],
        }
    }

    /// `x` `[batch, tokens, dim]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gated(channel) => channel.forward(x),
            Self::Mlp(channel) => channel.forward(x),
        }
    }
}

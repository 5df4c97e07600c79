//! Channel mixers: layers that treat every token alone.

mod gated;
mod mlp;

pub use gated::{Gate, Gated, GatedSpec};
pub use mlp::{Activation, Mlp, MlpSpec};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::Linear;

headwise_spec::family! {
    /// A layer that treats every token alone.
    pub enum ChannelSpec: "channel" {
        gated => GatedSpec,
        mlp => MlpSpec,
    }
}

impl ChannelSpec {
    /// Inner width.
    pub fn hidden(&self) -> usize {
        match self {
            Self::GatedSpec(spec) => spec.hidden,
            Self::MlpSpec(spec) => spec.hidden,
        }
    }

    /// Projections between `dim` and the inner width.
    pub fn projections(&self) -> usize {
        match self {
            Self::GatedSpec(_) => 3,
            Self::MlpSpec(_) => 2,
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
            ChannelSpec::GatedSpec(spec) => Self::Gated(Gated::random(spec, dim, device)),
            ChannelSpec::MlpSpec(spec) => Self::Mlp(Mlp::random(spec, dim, device)),
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::ChannelSpec>();
    }
}

//! Channel mixers: layers that treat every token alone.

mod gated;
mod mlp;
mod moe;

pub use gated::{Gate, Gated, GatedSpec};
pub use mlp::{Activation, Mlp, MlpSpec};
pub use moe::{Elsewhere, ExpertSource, Experts, Moe, MoeSpec, Routes};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::Linear;
use crate::mixer::MixContext;

headwise_spec::family! {
    /// A layer that treats every token alone.
    pub enum ChannelSpec: "channel" {
        gated => GatedSpec,
        mlp => MlpSpec,
        moe => MoeSpec,
    }
}

impl ChannelSpec {
    /// Inner width; of a mixture, that of an expert.
    pub fn hidden(&self) -> usize {
        match self {
            Self::GatedSpec(spec) => spec.hidden,
            Self::MlpSpec(spec) => spec.hidden,
            Self::MoeSpec(spec) => spec.hidden,
        }
    }

    /// Projections between `dim` and the inner width that a token passes.
    pub fn projections(&self) -> usize {
        match self {
            Self::GatedSpec(_) => 3,
            Self::MlpSpec(_) => 2,
            Self::MoeSpec(spec) => 3 * spec.active,
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
    /// See [`Moe`].
    Moe(Moe),
}

impl Channel {
    /// Trainable weights at random.
    pub fn random(spec: &ChannelSpec, dim: usize, device: &Device) -> Self {
        match spec {
            ChannelSpec::GatedSpec(spec) => Self::Gated(Gated::random(spec, dim, device)),
            ChannelSpec::MlpSpec(spec) => Self::Mlp(Mlp::random(spec, dim, device)),
            ChannelSpec::MoeSpec(spec) => Self::Moe(Moe::random(spec, dim, device)),
        }
    }

    /// The projections that a token passes, in that order; of a mixture, those of the first experts stand for all.
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Gated(channel) => vec![&channel.gate, &channel.up, &channel.down],
            Self::Mlp(channel) => vec![&channel.up, &channel.down],
            Self::Moe(channel) => {
                let experts = match &channel.experts {
                    Experts::Resident(experts) => &experts[..channel.spec().active.min(experts.len())],
                    Experts::Elsewhere(_) => &[],
                };
                let projections = experts.iter().flat_map(|expert| [&expert.gate, &expert.up, &expert.down]);
                std::iter::once(&channel.router).chain(projections).collect()
            }
        }
    }

    /// `x` `[batch, tokens, dim]` to the same shape. What the loss gets besides goes to `ctx`.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        match self {
            Self::Gated(channel) => channel.forward_with(x, ctx.adapters()),
            Self::Mlp(channel) => channel.forward(x),
            Self::Moe(channel) => {
                let (y, balance) = channel.forward(x);
                ctx.balance.extend(balance);
                y
            }
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

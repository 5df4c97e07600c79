//! One decoder block: a token mixer and a channel mixer, each with a residual connection.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_kernels::profile::{self, Work};
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, ChannelSpec};
use crate::mixer::{MixContext, Mixer, MixerSpec};
use crate::norm::{Norm, NormSpec};

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// Before each part: `x + f(norm(x))`.
    #[default]
    Pre,
    /// Before and after each part: `x + norm(f(norm(x)))`.
    Sandwich,
    /// After each residual sum: `norm(x + f(x))`.
    Post,
    /// Nowhere: `x + f(x)`.
    None,
}

/// How to build a [`Block`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// The token mixer.
    pub mixer: MixerSpec,
    /// The channel mixer; none leaves the token mixer alone.
    #[serde(default)]
    pub channel: Option<ChannelSpec>,
    /// Where norms stand.
    #[serde(default)]
    pub norms: Norms,
    /// Which norm.
    #[serde(default)]
    pub norm: NormSpec,
}

/// A part of a block with the norms before and after it.
#[derive(Module, Debug)]
pub struct Around {
    /// Applied to the input.
    pub before: Option<Norm>,
    /// Applied to the output, before the residual sum.
    pub after: Option<Norm>,
    /// Applied to the residual sum.
    pub sum: Option<Norm>,
}

impl Around {
    fn random(spec: &BlockSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        let norm = |present: bool| present.then(|| Norm::new(spec.norm, dim, epsilon, device));
        Self {
            before: norm(matches!(spec.norms, Norms::Pre | Norms::Sandwich)),
            after: norm(spec.norms == Norms::Sandwich),
            sum: norm(spec.norms == Norms::Post),
        }
    }

    /// `sum(x + after(f(before(x))))`
    fn residual(&self, x: Tensor<3>, f: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let input = match &self.before {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let output = f(input);
        let output = match &self.after {
            Some(norm) => norm.forward(output),
            None => output,
        };
        match &self.sum {
            Some(norm) => norm.forward_sum(x, output).1,
            None => add(x, output),
        }
    }
}

/// The residual sum.
fn add(x: Tensor<3>, output: Tensor<3>) -> Tensor<3> {
    let bytes = 3 * size_of::<f32>() * x.dims().iter().product::<usize>();
    let _span = profile::span("residual sum").work(|| Work::bytes(bytes));
    x + output
}

/// One layer of a decoder or encoder.
#[derive(Module, Debug)]
pub struct Block {
    /// Norms around the mixer.
    pub mixer_norms: Around,
    /// The token mixer.
    pub mixer: Mixer,
    /// Norms around the channel mixer.
    pub channel_norms: Around,
    /// The channel mixer.
    pub channel: Option<Channel>,
}

impl Block {
    /// Trainable weights at random; `dim` channels, norms with `epsilon`.
    pub fn random(spec: &BlockSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            mixer_norms: Around::random(spec, dim, epsilon, device),
            mixer: Mixer::random(&spec.mixer, dim, epsilon, device),
            channel_norms: Around::random(spec, dim, epsilon, device),
            channel: spec.channel.as_ref().map(|channel| Channel::random(channel, dim, device)),
        }
    }

    /// `x` `[batch, tokens, dim]` to the same shape.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let x = self.mix(x, ctx);
        match &self.channel {
            Some(channel) => self.channel_norms.residual(x, |x| channel.forward(x, ctx)),
            None => x,
        }
    }

    /// The token mixer's part of [`Block::forward`]: `x` `[batch, tokens, dim]` to the same shape.
    pub fn mix(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        self.mixer_norms.residual(x, |x| self.mixer.forward(x, ctx))
    }
}

/// Lets layers that rotate queries and keys alike compute the sines of a position once, not each for itself.
pub fn share_rotations(blocks: &mut [Block]) {
    for index in 1..blocks.len() {
        let (before, from) = blocks.split_at_mut(index);
        if let Mixer::Softmax(mixer) = &mut from[0].mixer {
            before.iter().rev().filter_map(|block| block.mixer.softmax()).any(|other| mixer.share_rotation(other));
        }
    }
}

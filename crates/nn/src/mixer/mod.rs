//! Token mixers and what a forward tells them.

mod context;
mod gla;
mod heads;
mod linear_attention;
mod past;
mod retention;
mod short_convolution;
mod softmax;
mod state;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use context::{LayerCache, MixContext, Projected, Segment};
pub use gla::{Gla, GlaSpec};
pub use linear_attention::{FeatureMap, LinearAttention, LinearAttentionSpec};
pub use retention::{Retention, RetentionNorm, RetentionSpec};
pub use short_convolution::ShortConvolution;
pub use softmax::{HeadNorms, Heads, Softmax, SoftmaxSpec};
pub use state::{MixerState, States};

headwise_spec::family! {
    /// A layer that moves information between tokens.
    pub enum MixerSpec: "mixer" {
        softmax => SoftmaxSpec,
        linear_attention => LinearAttentionSpec,
        retention => RetentionSpec,
        gla => GlaSpec,
    }
}

impl MixerSpec {
    /// The attention of a softmax layer.
    pub fn softmax(&self) -> Option<&SoftmaxSpec> {
        match self {
            Self::SoftmaxSpec(spec) => Some(spec),
            Self::LinearAttentionSpec(_) | Self::RetentionSpec(_) | Self::GlaSpec(_) => None,
        }
    }

    /// Whether a mixer of `dim` channels can be built; a message that names the numbers if not.
    pub fn check(&self, dim: usize) -> Result<(), String> {
        match self {
            Self::SoftmaxSpec(spec) => spec.check(dim),
            Self::LinearAttentionSpec(spec) => spec.check(dim),
            Self::RetentionSpec(spec) => spec.check(dim),
            Self::GlaSpec(spec) => spec.check(dim),
        }
    }

    /// What a mixer of `dim` channels keeps of a text besides keys and values, before the first token.
    pub fn state(&self, dim: usize) -> MixerState {
        match self {
            Self::SoftmaxSpec(spec) => spec.state(dim),
            Self::LinearAttentionSpec(spec) => spec.state(dim),
            Self::RetentionSpec(spec) => spec.state(dim),
            Self::GlaSpec(spec) => spec.state(dim),
        }
    }
}

/// A token mixer.
#[derive(Module, Debug)]
pub enum Mixer {
    /// See [`Softmax`].
    Softmax(Softmax),
    /// See [`LinearAttention`].
    LinearAttention(LinearAttention),
    /// See [`Retention`].
    Retention(Retention),
    /// See [`Gla`].
    Gla(Gla),
}

impl Mixer {
    /// Trainable weights at random, for a spec that passes [`MixerSpec::check`]; norms of attention heads with `epsilon`.
    pub fn random(spec: &MixerSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        match spec.clone() {
            MixerSpec::SoftmaxSpec(spec) => Self::Softmax(Softmax::random(spec, dim, epsilon, device)),
            MixerSpec::LinearAttentionSpec(spec) => Self::LinearAttention(LinearAttention::random(spec, dim, device)),
            MixerSpec::RetentionSpec(spec) => Self::Retention(Retention::random(spec, dim, device)),
            MixerSpec::GlaSpec(spec) => Self::Gla(Gla::random(spec, dim, device)),
        }
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        match self {
            Self::Softmax(mixer) => mixer.forward(x, ctx),
            Self::LinearAttention(mixer) => mixer.forward(x, ctx),
            Self::Retention(mixer) => mixer.forward(x, ctx),
            Self::Gla(mixer) => mixer.forward(x, ctx),
        }
    }

    /// The attention of a softmax layer.
    pub fn softmax(&self) -> Option<&Softmax> {
        match self {
            Self::Softmax(mixer) => Some(mixer),
            Self::LinearAttention(_) | Self::Retention(_) | Self::Gla(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::MixerSpec>();
    }
}

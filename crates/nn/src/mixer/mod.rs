//! Token mixers and what a forward tells them.

mod context;
mod softmax;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use context::{LayerCache, MixContext, Projected, Segment};
pub use softmax::{HeadNorms, Heads, Softmax, SoftmaxSpec};

headwise_spec::family! {
    /// A layer that moves information between tokens.
    pub enum MixerSpec: "mixer" {
        softmax => SoftmaxSpec,
    }
}

impl MixerSpec {
    /// The attention of a softmax layer.
    pub fn softmax(&self) -> Option<&SoftmaxSpec> {
        match self {
            Self::SoftmaxSpec(spec) => Some(spec),
        }
    }
}

/// A token mixer.
#[derive(Module, Debug)]
pub enum Mixer {
    /// See [`Softmax`].
    Softmax(Softmax),
}

impl Mixer {
    /// Trainable weights at random; `dim` channels, norms with `epsilon`.
    pub fn random(spec: &MixerSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        match spec {
            MixerSpec::SoftmaxSpec(spec) => Self::Softmax(Softmax::random(spec.clone(), dim, epsilon, device)),
        }
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        match self {
            Self::Softmax(mixer) => mixer.forward(x, ctx),
        }
    }

    /// The attention of a softmax layer.
    pub fn softmax(&self) -> Option<&Softmax> {
        match self {
            Self::Softmax(mixer) => Some(mixer),
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

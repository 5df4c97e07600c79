//! Decoders of equal size around different mixers.

use burn::module::Module;
use burn::tensor::Device;
use headwise_models::decoder::{Decoder, ModelFamily};
use headwise_nn::block::Norms;
use headwise_nn::channel::GatedSpec;
use headwise_nn::mixer::{MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_train::spec::{LayerSpec, ModelSpec};
use headwise_train::start::StartSpec;

use super::MixersError;

/// Width of the channel layers of the decoder that sets the size, as a multiple of the model's.
const RATIO: usize = 2;

/// The most that decoders differ in size, as a share.
pub(super) const TOLERANCE: f64 = 0.02;

/// What all decoders have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub vocabulary: usize,
    pub dim: usize,
    pub layers: usize,
    /// Most tokens of a sequence.
    pub context: usize,
}

impl Frame {
    /// A decoder with `mixer` in every layer, and channel layers of width `hidden`.
    pub fn model(&self, mixer: &MixerSpec, hidden: usize) -> ModelSpec {
        ModelSpec {
            family: ModelFamily::Decoder,
            vocabulary: Some(self.vocabulary),
            dim: self.dim,
            context: self.context,
            epsilon: 1e-6,
            position: None,
            tied: false,
            embedding_dim: None,
            shared_by: 1,
            embedding_scale: None,
            start: StartSpec::default(),
            layers: vec![LayerSpec {
                repeat: self.layers,
                mixer: mixer.clone(),
                channel: Some(GatedSpec { hidden, ..GatedSpec::default() }.into()),
                norms: Norms::Pre,
                norm: NormSpec::default(),
            }],
        }
    }

    /// The decoder with random weights.
    pub fn decoder(&self, mixer: &MixerSpec, hidden: usize) -> Result<Decoder, MixersError> {
        let spec = self.model(mixer, hidden).decoder(self.vocabulary);
        let text = || headwise_spec::to_text(mixer);
        Decoder::random(spec, &Device::flex()).map_err(|source| MixersError::Model {
            mixer: text(),
            dim: self.dim,
            source,
        })
    }

    /// Parameters that every decoder should have: those of one with plain softmax attention, whose heads do not matter.
    pub fn parameters(&self) -> Result<usize, MixersError> {
        let plain = SoftmaxSpec { heads: 1, position: headwise_nn::position::Nope {}.into(), ..SoftmaxSpec::default() };
        Ok(self.decoder(&plain.into(), RATIO * self.dim)?.num_params())
    }

    /// The width of the channel layers at which the decoder with `mixer` comes nearest to `wanted` parameters.
    pub fn hidden(&self, mixer: &MixerSpec, wanted: usize) -> Result<usize, MixersError> {
        let least = self.decoder(mixer, 1)?.num_params();
        let each = (self.decoder(mixer, 2)?.num_params() - least).max(1);
        let more = wanted.saturating_sub(least) as f64 / each as f64;
        let hidden = 1 + more.round() as usize;
        let found = least + (hidden - 1) * each;
        match (found as f64 - wanted as f64).abs() <= TOLERANCE * wanted as f64 {
            true => Ok(hidden),
            false => Err(MixersError::TooLarge { mixer: headwise_spec::to_text(mixer), found: least, wanted }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixer(text: &str) -> MixerSpec {
        headwise_spec::from_text(text).unwrap()
    }

    #[test]
    fn all_mixers_of_the_family_come_to_the_same_size() {
        for (dim, layers) in [(16, 1), (64, 2), (96, 3)] {
            let frame = Frame { vocabulary: 129, dim, layers, context: 64 };
            let wanted = frame.parameters().unwrap();
            // Four square projections, a gated layer of twice the width, two norms; embedding, head, and the last norm.
            assert_eq!(wanted, layers * (10 * dim * dim + 2 * dim) + 2 * 129 * dim + dim);
            for text in [
                "softmax",
                "softmax(kv_heads=1)",
                "softmax(convolution=4)",
                "linear_attention",
                "linear_attention(convolution=3)",
                "retention",
                "retention(convolution=3)",
                "gla",
                "gla(convolution=4)",
            ] {
                let mixer = mixer(text);
                let found = frame.decoder(&mixer, frame.hidden(&mixer, wanted).unwrap()).unwrap().num_params();
                assert!((found as f64 / wanted as f64 - 1.0).abs() <= TOLERANCE, "{text}: {found} and {wanted}");
            }
        }
    }

    #[test]
    fn a_mixer_larger_than_the_layer_is_refused() {
        let frame = Frame { vocabulary: 9, dim: 16, layers: 2, context: 64 };
        let wanted = frame.parameters().unwrap();
        let error = frame.hidden(&mixer("retention(value_dim=256)"), wanted).unwrap_err().to_string();
        assert!(error.contains("value_dim=256") && error.contains(&wanted.to_string()), "{error}");
        assert!(frame.hidden(&mixer("softmax(heads=5)"), wanted).unwrap_err().to_string().contains("--dim 16"));
    }
}

//! The only description of a language model, decoder or encoder: what its layers are, not where its weights come from.

use headwise_nn::block::BlockSpec;
use headwise_nn::channel::ChannelSpec;
use headwise_nn::mixer::{Heads, MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::{Divisors, InputPositionSpec, Linear, Llama3, RopeScaling, RopeSpec};
use headwise_spec::Family;
use serde::{Deserialize, Serialize};

use super::Sentinels;

/// Which tokens the layers of a model see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    /// Earlier ones: it writes text.
    #[default]
    Decoder,
    /// All of them: it fills gaps.
    Encoder,
}

impl ModelFamily {
    fn is_decoder(&self) -> bool {
        *self == Self::Decoder
    }

    /// Whether a layer sees what those of the family see.
    fn check(self, layer: usize, mixer: &MixerSpec) -> Result<(), SpecError> {
        let causal = mixer.softmax().map(|spec| spec.causal);
        match (self, causal) {
            (Self::Decoder, Some(false)) => Err(SpecError::NotCausal { layer }),
            (Self::Encoder, Some(true)) => Err(SpecError::Causal { layer }),
            (Self::Encoder, None) => {
                let reason = "its state is built from left to right, so it sees one side only: an encoder takes \
                              `softmax(causal=false)`";
                Err(SpecError::Mixer { layer, mixer: mixer.name(), reason: reason.into() })
            }
            (Self::Decoder, Some(true) | None) | (Self::Encoder, Some(false)) => Ok(()),
        }
    }
}

/// A decoder language model; an encoder is the same but for what its layers see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    /// Which tokens its layers see.
    #[serde(default, skip_serializing_if = "ModelFamily::is_decoder")]
    pub family: ModelFamily,
    /// Number of tokens known.
    pub vocabulary: usize,
    /// Channels of the residual stream.
    pub dim: usize,
    /// Longest text the model was trained on, in tokens.
    pub context: usize,
    /// Added to the mean square in every norm.
    pub epsilon: f64,
    /// Channels of the token vectors where they are fewer than `dim`: a matrix widens them, and another narrows what the output head reads
    /// (ALBERT, arXiv:1909.11942).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_dim: Option<usize>,
    /// Token vectors are multiplied by this.
    #[serde(default)]
    pub embedding_scale: Option<f32>,
    /// Vectors that say where tokens stand, added to those of the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<InputPositionSpec>,
    /// The output head is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// A norm stands before the output head.
    #[serde(default = "yes")]
    pub final_norm: bool,
    /// Output scores become `cap · tanh(score / cap)`.
    #[serde(default)]
    pub final_softcap: Option<f32>,
    /// So many layers in a row have the same weights, each with keys and values of its own (ALBERT, arXiv:1909.11942).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shared_by: usize,
    /// The tokens with which it fills gaps; none if it has not learned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<Sentinels>,
    /// The layers, first to last.
    pub layers: Vec<BlockSpec>,
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn yes() -> bool {
    true
}

/// Why a [`DecoderSpec`] describes no model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A size is zero.
    #[error("{what} is 0: it must be at least 1")]
    Zero {
        /// The field.
        what: &'static str,
    },
    /// A layer whose tokens see later ones.
    #[error("layer {layer} is not causal: a decoder writes text from left to right, so leave `causal` at true")]
    NotCausal {
        /// Index of the layer.
        layer: usize,
    },
    /// A layer of an encoder whose tokens do not see later ones.
    #[error("layer {layer} is causal: an encoder sees both sides of every token, so set `causal` to false")]
    Causal {
        /// Index of the layer.
        layer: usize,
    },
    /// Vectors of positions that cannot be built.
    #[error("position: `{position}`: {reason}")]
    Position {
        /// The spec.
        position: String,
        /// What is wrong.
        reason: String,
    },
    /// Tokens that cannot stand for gaps.
    #[error("sentinels: {reason}")]
    Sentinels {
        /// What is wrong.
        reason: String,
    },
    /// A mixer that cannot be built.
    #[error("layer {layer}: `{mixer}`: {reason}")]
    Mixer {
        /// Index of the layer.
        layer: usize,
        /// The mixer.
        mixer: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A channel mixer that cannot be built.
    #[error("layer {layer}: `{channel}`: {reason}")]
    Channel {
        /// Index of the layer.
        layer: usize,
        /// The channel mixer.
        channel: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Layers that cannot have the same weights.
    #[error(
        "shared_by is {shared_by}, but layer {layer} {reason}: layers that have the same weights stand in rows of {shared_by} alike"
    )]
    Shared {
        /// How many layers share their weights.
        shared_by: usize,
        /// Index of the layer.
        layer: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Channels that do not divide into heads.
    #[error("layer {layer}: {dim} channels do not divide into {heads} heads: change `heads` or give `head_dim`")]
    HeadDim {
        /// Index of the layer.
        layer: usize,
        /// Channels of the model.
        dim: usize,
        /// Query heads.
        heads: usize,
    },
    /// Query heads cannot be shared out evenly.
    #[error(
        "layer {layer}: {heads} query heads cannot share {kv_heads} key-value heads: {kv_heads} must divide {heads}"
    )]
    Heads {
        /// Index of the layer.
        layer: usize,
        /// Query heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
    },
    /// Rotary dimensions that do not fit a head.
    #[error(
        "layer {layer}: {dims} rotary channels do not fit a head of {head_dim}: they must be even, at least 2 and no more than the head has"
    )]
    Rotary {
        /// Index of the layer.
        layer: usize,
        /// Rotary channels.
        dims: usize,
        /// Channels of a head.
        head_dim: usize,
    },
    /// Divisors of the rotary angles that are not one per channel pair.
    #[error("layer {layer}: {found} divisors of rotary angles for {expected} channel pairs")]
    Divisors {
        /// Index of the layer.
        layer: usize,
        /// Divisors given.
        found: usize,
        /// Channel pairs.
        expected: usize,
    },
    /// A number that is not finite, or zero or negative where that makes no sense.
    #[error("{what} is {value}: it must be a finite number above 0")]
    Number {
        /// The field.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A size is larger than any machine could hold.
    #[error("{what} is {value}: at most {most} is supported")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The limit.
        most: usize,
    },
}

/// No size of a real model comes near this; larger ones are corrupt files.
const MOST: usize = 1 << 28;
/// The same for layers, of which each has a description.
const MOST_LAYERS: usize = 1 << 14;

impl DecoderSpec {
    /// Whether the numbers describe a model that can be built.
    pub fn check(&self) -> Result<(), SpecError> {
        sizes(&[("vocabulary", self.vocabulary), ("dim", self.dim), ("context", self.context)])?;
        sizes(&[("embedding_dim", self.head_width()), ("shared_by", self.shared_by)])?;
        Self::check_layers(self.layers.len())?;
        number("epsilon", Some(self.epsilon))?;
        number("embedding_scale", self.embedding_scale.map(f64::from))?;
        number("final_softcap", self.final_softcap.map(f64::from))?;
        if let Some(position) = &self.position {
            position.check().map_err(|reason| SpecError::Position { position: position.to_string(), reason })?;
        }
        self.check_shared()?;
        self.sentinels.map_or(Ok(()), |sentinels| sentinels.check(self.vocabulary))?;
        self.layers.iter().enumerate().try_for_each(|(layer, block)| {
            check_block(layer, block, self.dim)?;
            self.family.check(layer, &block.mixer)
        })
    }

    /// Whether layers with the same weights are alike.
    fn check_shared(&self) -> Result<(), SpecError> {
        for (group, layers) in self.layers.chunks(self.shared_by).enumerate() {
            let wrong = |layer: usize, reason| {
                Err(SpecError::Shared { shared_by: self.shared_by, layer: group * self.shared_by + layer, reason })
            };
            if let Some(layer) = layers.iter().position(|layer| *layer != layers[0]) {
                return wrong(layer, "is unlike the one before");
            }
            if layers.len() < self.shared_by {
                return wrong(layers.len() - 1, "is the last");
            }
        }
        Ok(())
    }

    /// Channels that the output head reads.
    pub fn head_width(&self) -> usize {
        self.embedding_dim.unwrap_or(self.dim)
    }

    /// The norm before the output head: that of the last layer.
    pub fn norm(&self) -> NormSpec {
        self.layers.last().map_or(NormSpec::default(), |layer| layer.norm)
    }

    /// How many tokens a text can have at all; none if there is no end.
    pub fn positions(&self) -> Option<usize> {
        self.position.as_ref().filter(|position| position.ends()).map(|_| self.context)
    }

    /// Whether a model can have so many layers; for readers, before they make a list of them.
    pub(super) fn check_layers(layers: usize) -> Result<usize, SpecError> {
        match layers {
            0 => Err(SpecError::Zero { what: "layers" }),
            1..=MOST_LAYERS => Ok(layers),
            _ => Err(SpecError::TooLarge { what: "layers", value: layers, most: MOST_LAYERS }),
        }
    }
}

fn check_block(layer: usize, block: &BlockSpec, dim: usize) -> Result<(), SpecError> {
    if let Some(channel) = &block.channel {
        sizes(&[("hidden", channel.hidden())])?;
        if let ChannelSpec::MoeSpec(spec) = channel {
            sizes(&[("experts", spec.experts)])?;
            spec.check().map_err(|reason| SpecError::Channel { layer, channel: channel.name(), reason })?;
        }
    }
    match &block.mixer {
        MixerSpec::SoftmaxSpec(spec) => check_softmax(layer, spec, dim),
        mixer => mixer.check(dim).map_err(|reason| SpecError::Mixer { layer, mixer: mixer.name(), reason }),
    }
}

fn check_softmax(layer: usize, spec: &SoftmaxSpec, dim: usize) -> Result<(), SpecError> {
    sizes(&[("heads", spec.heads)])?;
    if spec.head_dim.is_none() && !dim.is_multiple_of(spec.heads) {
        return Err(SpecError::HeadDim { layer, dim, heads: spec.heads });
    }
    let Heads { heads, kv_heads, head_dim } = spec.sizes(dim);
    sizes(&[("kv_heads", kv_heads), ("head_dim", head_dim)])?;
    if heads % kv_heads != 0 {
        return Err(SpecError::Heads { layer, heads, kv_heads });
    }
    number("scale", spec.scale.map(f64::from))?;
    number("softcap", spec.softcap.map(f64::from))?;
    if let Some(window) = spec.window {
        sizes(&[("window", window)])?;
    }
    if let Some(convolution) = spec.convolution {
        sizes(&[("convolution", convolution)])?;
    }
    spec.rope().map_or(Ok(()), |rope| check_rope(layer, rope, head_dim))
}

fn check_rope(layer: usize, rope: &RopeSpec, head_dim: usize) -> Result<(), SpecError> {
    let dims = rope.dims.unwrap_or(head_dim);
    if dims == 0 || !dims.is_multiple_of(2) || dims > head_dim {
        return Err(SpecError::Rotary { layer, dims, head_dim });
    }
    number("rope theta", Some(rope.theta))?;
    match &rope.scaling {
        None => Ok(()),
        Some(RopeScaling::Linear(Linear { factor })) => number("rope factor", Some(*factor)),
        Some(RopeScaling::Llama3(Llama3 { factor, low_freq_factor, high_freq_factor, original_context })) => {
            number("rope factor", Some(*factor))?;
            number("rope low_freq_factor", Some(*low_freq_factor))?;
            // Frequencies between the two are blended.
            number("rope high_freq_factor - low_freq_factor", Some(high_freq_factor - low_freq_factor))?;
            sizes(&[("rope original_context", *original_context)])
        }
        Some(RopeScaling::Divisors(Divisors { divisors })) if divisors.len() != dims / 2 => {
            Err(SpecError::Divisors { layer, found: divisors.len(), expected: dims / 2 })
        }
        Some(RopeScaling::Divisors(Divisors { divisors })) => {
            divisors.iter().try_for_each(|&divisor| number("a divisor of rotary angles", Some(divisor.into())))
        }
    }
}

fn number(what: &'static str, value: Option<f64>) -> Result<(), SpecError> {
    match value {
        Some(value) if !(value.is_finite() && value > 0.0) => Err(SpecError::Number { what, value }),
        _ => Ok(()),
    }
}

fn sizes(sizes: &[(&'static str, usize)]) -> Result<(), SpecError> {
    for &(what, value) in sizes {
        match value {
            0 => return Err(SpecError::Zero { what }),
            1..=MOST => {}
            _ => return Err(SpecError::TooLarge { what, value, most: MOST }),
        }
    }
    Ok(())
}

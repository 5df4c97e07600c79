//! The only description of a decoder: what its layers are, not where its weights come from.

use headwise_nn::block::BlockSpec;
use serde::{Deserialize, Serialize};

/// A decoder language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    /// Number of tokens known.
    pub vocabulary: usize,
    /// Channels of the residual stream.
    pub dim: usize,
    /// Longest text the model was trained on, in tokens.
    pub context: usize,
    /// Added to the mean square in every norm.
    pub epsilon: f64,
    /// Token vectors are multiplied by this.
    #[serde(default)]
    pub embedding_scale: Option<f32>,
    /// The output head is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// A norm stands before the output head.
    #[serde(default = "yes")]
    pub final_norm: bool,
    /// Output scores become `cap · tanh(score / cap)`.
    #[serde(default)]
    pub final_softcap: Option<f32>,
    /// The layers, first to last.
    pub layers: Vec<BlockSpec>,
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
    /// Query heads cannot be shared out evenly.
    #[error("layer {layer}: {heads} query heads cannot share {kv_heads} key-value heads: {kv_heads} must divide {heads}")]
    Heads {
        /// Index of the layer.
        layer: usize,
        /// Query heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
    },
    /// Rotary dimensions that do not fit a head.
    #[error("layer {layer}: {dims} rotary channels do not fit a head of {head_dim}: they must be even and no more")]
    Rotary {
        /// Index of the layer.
        layer: usize,
        /// Rotary channels.
        dims: usize,
        /// Channels of a head.
        head_dim: usize,
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

impl DecoderSpec {
    /// Whether the numbers describe a model that can be built.
    pub fn check(&self) -> Result<(), SpecError> {
        sizes(&[
            ("vocabulary", self.vocabulary),
            ("dim", self.dim),
            ("context", self.context),
            ("layers", self.layers.len()),
        ])?;
        for (layer, block) in self.layers.iter().enumerate() {
            let mixer = &block.mixer;
            sizes(&[("heads", mixer.heads), ("kv_heads", mixer.kv_heads), ("head_dim", mixer.head_dim)])?;
            if mixer.heads % mixer.kv_heads != 0 {
                return Err(SpecError::Heads { layer, heads: mixer.heads, kv_heads: mixer.kv_heads });
            }
            if let Some(dims) = mixer.rope.as_ref().map(|rope| rope.dims.unwrap_or(mixer.head_dim))
                && (dims % 2 != 0 || dims > mixer.head_dim)
            {
                return Err(SpecError::Rotary { layer, dims, head_dim: mixer.head_dim });
            }
            if let Some(window) = mixer.window {
                sizes(&[("window", window)])?;
            }
            if let Some(channel) = &block.channel {
                sizes(&[("hidden", channel.hidden)])?;
            }
        }
        Ok(())
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

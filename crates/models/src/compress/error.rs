//! Why a model could not be made smaller.

use crate::decoder::{ExportError, LoadError};
use crate::gguf::QuantiseError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be made smaller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The model cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be read.
    #[error(transparent)]
    Template(#[from] crate::chat::ChatTemplateError),
    /// The model cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// No method, or parameters out of range.
    #[error("{0}")]
    Method(String),
    /// Weights that cannot be quantised.
    #[error("`{weight}`: {source}")]
    Quantise {
        /// The weight.
        weight: String,
        /// Why.
        source: QuantiseError,
    },
    /// A layer whose weights cannot be had.
    #[error(
        "layer {layer} mixes with `{mixer}`: only models whose layers mix with `softmax`, without `convolution`, are made smaller"
    )]
    Mixer {
        /// Index of the layer.
        layer: usize,
        /// Its mixer.
        mixer: String,
    },
    /// Layers with the same weights, which a method would have to change apart.
    #[error(
        "layers of this model share their weights (shared_by = {shared_by}): types, `rtn` and `bct` take it as it is, no other method does"
    )]
    Shared {
        /// How many share theirs.
        shared_by: usize,
    },
    /// A method that needs a text, without one.
    #[error("`{method}` looks at what the layers read: it needs a calibration text")]
    NoCalibration {
        /// The method.
        method: String,
    },
    /// A calibration text that is too short.
    #[error("the calibration text has {tokens} tokens: at least {least} are needed")]
    ShortCalibration {
        /// Its tokens.
        tokens: usize,
        /// What is needed.
        least: usize,
    },
    /// What a layer reads cannot be used.
    #[error("`{weight}`: what it reads has no usable second moments, even damped a thousand times: {reason}")]
    Moments {
        /// The weight.
        weight: String,
        /// What is wrong.
        reason: &'static str,
    },
}

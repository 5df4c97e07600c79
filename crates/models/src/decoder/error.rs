//! Why a model could not be loaded.

use std::path::PathBuf;

use headwise_kernels::matrix::MatrixError;

use super::SpecError;
use crate::gguf::{DequantiseError, GgufError, MetadataError};
use crate::safetensors::CheckpointError;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A mixer that the format has no names for.
    #[error("layer {layer} mixes with `{mixer}`: this format holds `softmax` only")]
    Mixer {
        /// Index of the layer.
        layer: usize,
        /// Its mixer.
        mixer: String,
    },
    /// A channel mixer that the format has no names for.
    #[error("`{channel}`: this format holds the channel mixers `gated` and `mlp` only")]
    Channel {
        /// The channel mixer.
        channel: String,
    },
    /// The file is no valid GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The metadata lacks something, or has it in the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The safetensors files cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no description of the model, or it cannot be read.
    #[error(
        "cannot read {}: {source}; a model's folder holds config.json or headwise.toml, safetensors files and tokenizer.json",
        path.display()
    )]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// `headwise.toml`, or the same text in a GGUF file, describes no decoder.
    #[error("headwise.toml describes no model: {0}")]
    Description(String),
    /// `config.json` is no JSON object.
    #[error("config.json is not a JSON object: {0}")]
    ConfigSyntax(serde_json::Error),
    /// A key of `config.json` has an impossible value, or is not there.
    #[error("`{key}` is {value} in config.json; expected {expected}")]
    ConfigValue {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        expected: String,
    },
    /// The size of a head is not given and does not follow.
    #[error("a head's size is not given, and {dim} channels cannot be shared out over {heads} query heads")]
    HeadDim {
        /// Channels of the residual stream.
        dim: usize,
        /// Query heads.
        heads: usize,
    },
    /// The description makes no model.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// An architecture that is not supported.
    #[error("architecture `{found}` is not supported: the supported ones are {supported}")]
    Architecture {
        /// What the file says.
        found: String,
        /// The names that work.
        supported: String,
    },
    /// A setting that changes the mathematics and is not understood.
    #[error("`{key}` = {value} changes the mathematics of `{architecture}` and is not understood")]
    Setting {
        /// The architecture.
        architecture: String,
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A tensor that the architecture needs is not there.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the architecture says.
    #[error("tensor `{name}` has shape {found:?}; the model's description asks for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the description.
        expected: Vec<usize>,
    },
    /// A tensor nobody asked for: the model has a part that is not understood.
    #[error("the file has tensors that `{architecture}` does not use: {names}")]
    Unused {
        /// The architecture.
        architecture: String,
        /// The tensors, the first few.
        names: String,
    },
    /// A tensor could not be dequantised.
    #[error("tensor `{name}`: {source}")]
    Dequantise {
        /// The tensor.
        name: String,
        /// Why.
        source: DequantiseError,
    },
    /// A tensor could not be packed.
    #[error("tensor `{name}`: {source}")]
    Pack {
        /// The tensor.
        name: String,
        /// Why.
        source: MatrixError,
    },
}

impl LoadError {
    pub(super) fn missing(name: &str) -> Self {
        Self::Missing { name: name.into() }
    }

    /// Whether a tensor has the shape that the description asks for.
    pub(super) fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Shape { name: name.into(), found: found.into(), expected: expected.into() })
    }

    /// An error if there are `unused` tensors; it names the first few.
    pub(super) fn check_unused<'a>(architecture: &str, unused: impl Iterator<Item = &'a str>) -> Result<(), Self> {
        let names: Vec<&str> = unused.take(5).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Self::Unused { architecture: architecture.into(), names: names.join(", ") })
    }
}

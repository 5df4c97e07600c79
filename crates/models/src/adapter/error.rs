//! Why an adapter cannot be used.

use std::path::PathBuf;

use crate::safetensors::CheckpointError;

/// Why an adapter cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// There is no configuration, or it cannot be read.
    #[error(
        "cannot read {}: {source}; an adapter is a folder as PEFT writes it, with adapter_config.json and adapter_model.safetensors",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There are no weights.
    #[error(
        "{} has no adapter_model.safetensors: save the adapter with `save_pretrained(…, safe_serialization=True)`",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The configuration is no JSON object.
    #[error("adapter_config.json is not a JSON object: {0}")]
    Syntax(serde_json::Error),
    /// A key of the configuration asks for something that is not understood.
    #[error("`{key}` is {value} in adapter_config.json; expected {expected}")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Patterns that give one projection several values.
    #[error("`{key}` in adapter_config.json has several values for `{module}`: one pattern may match it")]
    Ambiguous {
        /// The key.
        key: &'static str,
        /// The projection.
        module: String,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor that adds nothing to a projection.
    #[error(
        "tensor `{tensor}` is not understood; expected `base_model.model.model.layers.N.MODULE.lora_A.weight` or `lora_B.weight` where MODULE \
         is self_attn.q_proj, k_proj, v_proj or o_proj, or mlp.gate_proj, up_proj or down_proj"
    )]
    Tensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor is not there.
    #[error(
        "tensor `{tensor}` is missing: adapter_config.json says that it was trained, or the other half of it is there"
    )]
    Missing {
        /// Its name.
        tensor: String,
    },
    /// No tensor at all.
    #[error("adapter_model.safetensors has no tensors, so the adapter changes nothing: serve the model without it")]
    Empty,
    /// A projection that was not to be trained.
    #[error("the adapter has tensors of `{module}`, which `target_modules` in adapter_config.json does not name")]
    Untargeted {
        /// The projection.
        module: String,
    },
    /// A projection that the model does not have.
    #[error(
        "the adapter changes `{module}`, but the model has {layers} layers, and adapters are for its softmax attention and gated channel \
         mixers: take the adapter that was made for this model"
    )]
    NoProjection {
        /// The projection.
        module: String,
        /// Layers of the model.
        layers: usize,
    },
    /// A tensor of another shape than model and configuration say.
    #[error(
        "tensor `{tensor}` has shape {found:?}; the model and the rank in adapter_config.json ask for {expected:?}"
    )]
    Shape {
        /// Its name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: [usize; 2],
    },
    /// An adapter that was read for another model.
    #[error("the adapter was read for a model of other sizes: open it with the model that it is for")]
    OtherModel,
}

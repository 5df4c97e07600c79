//! Decoders from Hugging Face directories: the description from `config.json`, the weights from safetensors files.

mod architecture;
mod config;
mod keys;
mod rotation;

use std::path::Path;

use burn::tensor::Device;
use headwise_kernels::matrix::PackedMatrix;

use super::asked::Asked;
use super::load::{Loader, Names, Source, Weights, halves};
use super::{Decoder, DecoderSpec, LoadError};
use crate::safetensors::{Checkpoint, Dtype};

/// Names of the tensors, but for the norms around a layer's parts.
pub(super) const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    factor_up: "model.embed_tokens_up",
    factor_down: "model.embed_tokens_down",
    norm: "model.norm",
    head: "lm_head",
    query: "model.layers.{}.self_attn.q_proj",
    key: "model.layers.{}.self_attn.k_proj",
    value: "model.layers.{}.self_attn.v_proj",
    output: "model.layers.{}.self_attn.o_proj",
    query_norm: "model.layers.{}.self_attn.q_norm",
    key_norm: "model.layers.{}.self_attn.k_norm",
    mixer_before: "model.layers.{}.input_layernorm",
    mixer_after: "model.layers.{}.post_attention_layernorm",
    channel_before: "model.layers.{}.post_attention_layernorm",
    channel_after: "model.layers.{}.post_feedforward_layernorm",
    gate: "model.layers.{}.mlp.gate_proj",
    up: "model.layers.{}.mlp.up_proj",
    down: "model.layers.{}.mlp.down_proj",
};

/// With norms after a part too, "post attention" is no longer the one before the channel mixer.
const SANDWICH_NAMES: Names = Names { channel_before: "model.layers.{}.pre_feedforward_layernorm", ..NAMES };

/// Rotary frequencies that early Llama checkpoints carry; they follow from `config.json`.
const FREQUENCIES: &str = ".self_attn.rotary_emb.inv_freq";

impl DecoderSpec {
    /// Reads the description of a decoder from the text of a `config.json`, as transformers 4 or 5 writes it.
    ///
    /// A key that is not understood is an error, unless it is known not to change the mathematics.
    pub fn from_hf(config: &str) -> Result<Self, LoadError> {
        config::read(config).map(|(_, spec)| spec)
    }
}

impl Decoder {
    /// Loads a model from a Hugging Face directory (`config.json` and safetensors files), its weights in the form
    /// `weights`.
    pub fn from_hf(directory: &Path, weights: Weights, device: &Device) -> Result<Self, LoadError> {
        let path = directory.join("config.json");
        let config = std::fs::read_to_string(&path).map_err(|source| LoadError::ConfigFile { path, source })?;
        let (architecture, spec) = config::read(&config)?;
        let checkpoint = Checkpoint::open(directory)?;
        let tied = spec.tied;
        let source = Asked::new(&checkpoint);
        let loader = Loader {
            source: &source,
            names: if architecture.gemma { &SANDWICH_NAMES } else { &NAMES },
            weights,
            interleaved: false,
            norm_offset: architecture.norm_offset(),
            device,
        };
        let decoder = loader.decoder(spec)?;
        let head = format!("{}.weight", NAMES.head);
        source.check_unused(architecture.model_type, |name| {
            name.ends_with(FREQUENCIES) || tied && name == head && head_is_the_embedding(&checkpoint, &head)
        })?;
        Ok(decoder)
    }
}

/// Whether a head that a tied model stores as well says nothing new.
fn head_is_the_embedding(checkpoint: &Checkpoint, head: &str) -> bool {
    let embedding = format!("{}.weight", NAMES.embedding);
    match (checkpoint.tensor(head), checkpoint.tensor(&embedding)) {
        (Ok(head), Ok(embedding)) => {
            head.dtype == embedding.dtype
                && head.shape == embedding.shape
                && head.blob.bytes() == embedding.blob.bytes()
        }
        _ => false,
    }
}

impl Source for Asked<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        Ok(self.find(name, shape)?.to_f32()?)
    }

    fn packed(&self, name: &str, shape: [usize; 2], interleaved: Option<usize>) -> Result<PackedMatrix, LoadError> {
        debug_assert!(interleaved.is_none(), "rotary pairs are half a head apart in this format");
        let tensor = self.find(name, &shape)?;
        let [outputs, inputs] = shape;
        Ok(match tensor.dtype {
            Dtype::F16 => PackedMatrix::from_f16_bits(&halves(tensor.blob.bytes()), outputs, inputs),
            Dtype::BF16 => PackedMatrix::from_bf16_bits(&halves(tensor.blob.bytes()), outputs, inputs),
            _ => PackedMatrix::from_f32(&tensor.to_f32()?, outputs, inputs),
        })
    }
}

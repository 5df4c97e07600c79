//! Decoders from GGUF files: the description from the metadata, the weights from the tensors.

use std::cell::RefCell;
use std::collections::HashSet;

use burn::tensor::Device;
use headwise_kernels::matrix::{Format, PackedMatrix};
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::channel::{Gate, GatedSpec};
use headwise_nn::mixer::SoftmaxSpec;
use headwise_nn::position::{RopeScaling, RopeSpec};

use super::load::{LoadError, Loader, Names, Source, Weights, halves_apart};
use super::{Decoder, DecoderSpec};
use crate::gguf::{Gguf, Metadata, TensorInfo, TensorType, dequantise};

/// The architectures that are understood.
const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// Keys of an architecture that are understood; any other is an error.
const KEYS: [&str; 20] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "final_logit_softcapping",
    "vocab_size",
    "expert_count",
];

const NAMES: Names = Names {
    embedding: "token_embd",
    norm: "output_norm",
    head: "output",
    query: "blk.{}.attn_q",
    key: "blk.{}.attn_k",
    value: "blk.{}.attn_v",
    output: "blk.{}.attn_output",
    query_norm: "blk.{}.attn_q_norm",
    key_norm: "blk.{}.attn_k_norm",
    mixer_before: "blk.{}.attn_norm",
    mixer_after: "blk.{}.post_attention_norm",
    channel_before: "blk.{}.ffn_norm",
    channel_after: "blk.{}.post_ffw_norm",
    gate: "blk.{}.ffn_gate",
    up: "blk.{}.ffn_up",
    down: "blk.{}.ffn_down",
};

/// Gemma 3: every sixth layer attends to the whole text, the others to a window.
const GEMMA3_PERIOD: usize = 6;
/// Gemma 3: rotary base of the layers with a window.
const GEMMA3_WINDOW_THETA: f64 = 10_000.0;

impl DecoderSpec {
    /// Reads the description of a decoder from the metadata of a GGUF file.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LoadError> {
        let reader = Reader::new(gguf)?;
        let gemma3 = reader.architecture == "gemma3";
        let layers = reader.usize("block_count")?;
        let embedding = gguf.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let dim = reader.usize("embedding_length")?;
        let spec = Self {
            vocabulary: embedding.shape[0],
            dim,
            context: reader.usize("context_length")?,
            epsilon: f64::from(reader.metadata.f32(&reader.key("attention.layer_norm_rms_epsilon"))?),
            embedding_scale: gemma3.then(|| (dim as f32).sqrt()),
            tied: gguf.tensor("output.weight").is_none(),
            final_norm: true,
            final_softcap: reader.metadata.optional_f32(&reader.key("final_logit_softcapping"))?,
            layers: (0..layers).map(|layer| reader.layer(gguf, layer, dim)).collect::<Result<_, _>>()?,
        };
        spec.check()?;
        Ok(spec)
    }
}

impl Decoder {
    /// Loads a model from a GGUF file, its weights in the form `weights`.
    pub fn from_gguf(gguf: &Gguf, weights: Weights, device: &Device) -> Result<Self, LoadError> {
        let spec = DecoderSpec::from_gguf(gguf)?;
        let architecture = gguf.metadata().string("general.architecture")?;
        let source = Tensors { gguf, used: RefCell::default() };
        // llama.cpp's converter stores the query and key rows of this architecture with rotary pairs side by side.
        let interleaved = architecture == "llama";
        let loader = Loader { source: &source, names: &NAMES, weights, interleaved, norm_offset: 0.0, device };
        let decoder = loader.decoder(spec)?;
        source.check_unused(architecture)?;
        Ok(decoder)
    }
}

/// The metadata of one architecture.
struct Reader<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl<'a> Reader<'a> {
    fn new(gguf: &'a Gguf) -> Result<Self, LoadError> {
        let metadata = gguf.metadata();
        let architecture = metadata.string("general.architecture")?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(LoadError::Architecture { found: architecture.into(), supported: ARCHITECTURES.join(", ") });
        }
        let reader = Self { metadata, architecture };
        for (key, value) in metadata.iter() {
            let Some(rest) = key.strip_prefix(architecture).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let harmless = rest != "expert_count" || metadata.optional_u64(key)?.is_none_or(|experts| experts == 0);
            if !KEYS.contains(&rest) || !harmless {
                return Err(reader.not_understood(rest, format!("{value:?}")));
            }
        }
        Ok(reader)
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn usize(&self, key: &str) -> Result<usize, LoadError> {
        Ok(self.metadata.usize(&self.key(key))?)
    }

    fn optional(&self, key: &str) -> Result<Option<usize>, LoadError> {
        Ok(self.metadata.optional_usize(&self.key(key))?)
    }

    fn not_understood(&self, key: &str, value: String) -> LoadError {
        LoadError::Setting { architecture: self.architecture.into(), key: self.key(key), value }
    }

    fn layer(&self, gguf: &Gguf, layer: usize, dim: usize) -> Result<BlockSpec, LoadError> {
        let gemma3 = self.architecture == "gemma3";
        let heads = self.usize("attention.head_count")?.max(1);
        let head_dim = self.optional("attention.key_length")?.unwrap_or(dim / heads);
        if let Some(value_dim) = self.optional("attention.value_length")?
            && value_dim != head_dim
        {
            return Err(self.not_understood("attention.value_length", format!("{value_dim}, the keys have {head_dim}")));
        }
        let windowed = !gemma3 || layer % GEMMA3_PERIOD != GEMMA3_PERIOD - 1;
        let window = self.optional("attention.sliding_window")?.filter(|&window| windowed && window > 0);
        let theta = match self.metadata.optional_f32(&self.key("rope.freq_base"))? {
            _ if gemma3 && windowed => {
                self.metadata.optional_f32(&self.key("rope.freq_base_swa"))?.map_or(GEMMA3_WINDOW_THETA, f64::from)
            }
            theta => theta.map_or(10_000.0, f64::from),
        };
        let scaling = if gemma3 && windowed { None } else { self.scaling(gguf, head_dim)? };
        let has = |name: &str| gguf.tensor(&format!("blk.{layer}.{name}")).is_some();
        Ok(BlockSpec {
            mixer: SoftmaxSpec {
                heads,
                kv_heads: self.optional("attention.head_count_kv")?.unwrap_or(heads),
                head_dim,
                rope: Some(RopeSpec { theta, dims: self.optional("rope.dimension_count")?, scaling }),
                window,
                bias: has("attn_q.bias"),
                qk_norm: has("attn_q_norm.weight"),
                scale: None,
                softcap: None,
            },
            channel: Some(GatedSpec {
                hidden: self.usize("feed_forward_length")?,
                gate: if gemma3 { Gate::GeluTanh } else { Gate::Silu },
            }),
            norms: if gemma3 { Norms::Sandwich } else { Norms::Pre },
        })
    }

    fn scaling(&self, gguf: &Gguf, head_dim: usize) -> Result<Option<RopeScaling>, LoadError> {
        if let Some(tensor) = gguf.tensor("rope_freqs.weight") {
            return Ok(Some(RopeScaling::Divisors { divisors: floats(tensor, &[head_dim / 2])? }));
        }
        match self.metadata.optional_string(&self.key("rope.scaling.type"))? {
            None | Some("none") => Ok(None),
            Some("linear") => {
                let factor = f64::from(self.metadata.f32(&self.key("rope.scaling.factor"))?);
                Ok(Some(RopeScaling::Linear { factor }))
            }
            Some(other) => Err(self.not_understood("rope.scaling.type", format!("`{other}` (supported: none, linear)"))),
        }
    }
}

/// The tensors of a file, and which of them were asked for.
struct Tensors<'a> {
    gguf: &'a Gguf,
    used: RefCell<HashSet<String>>,
}

impl Tensors<'_> {
    fn find(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo, LoadError> {
        let tensor = self.gguf.tensor(name).ok_or_else(|| missing(name))?;
        check_shape(tensor, shape)?;
        self.used.borrow_mut().insert(name.to_owned());
        Ok(tensor)
    }

    fn check_unused(&self, architecture: &str) -> Result<(), LoadError> {
        let used = self.used.borrow();
        let unused = |tensor: &&TensorInfo| !used.contains(&tensor.name) && tensor.name != "rope_freqs.weight";
        let names: Vec<&str> =
            self.gguf.tensors().iter().filter(unused).map(|tensor| tensor.name.as_str()).take(5).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(LoadError::Unused { architecture: architecture.into(), names: names.join(", ") })
    }
}

impl Source for Tensors<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        floats(self.find(name, shape)?, shape)
    }

    fn packed(&self, name: &str, shape: [usize; 2], interleaved: Option<usize>) -> Result<PackedMatrix, LoadError> {
        let tensor = self.find(name, &shape)?;
        let [outputs, inputs] = shape;
        let bytes = tensor.blob.bytes();
        let reordered = interleaved.map(|heads| halves_apart(bytes, heads, bytes.len() / outputs));
        let bytes = reordered.as_deref().unwrap_or(bytes);
        match format(tensor.ty) {
            Some(format) => PackedMatrix::from_blocks(format, bytes, outputs, inputs)
                .map_err(|source| LoadError::Pack { name: name.into(), source }),
            None if tensor.ty == TensorType::F16 => Ok(PackedMatrix::from_f16_bits(&halves(bytes), outputs, inputs)),
            None if tensor.ty == TensorType::BF16 => Ok(PackedMatrix::from_bf16_bits(&halves(bytes), outputs, inputs)),
            None => Ok(PackedMatrix::from_f32(&decode(tensor, bytes, outputs * inputs)?, outputs, inputs)),
        }
    }
}

/// The bits of 16-bit floats.
fn halves(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The block format that keeps tensors of type `ty` as they are.
fn format(ty: TensorType) -> Option<Format> {
    Some(match ty {
        TensorType::Q8_0 => Format::Q8_0,
        TensorType::Q4_0 => Format::Q4_0,
        TensorType::Q4_1 => Format::Q4_1,
        TensorType::Q5_0 => Format::Q5_0,
        TensorType::Q5_1 => Format::Q5_1,
        _ => return None,
    })
}

fn floats(tensor: &TensorInfo, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
    check_shape(tensor, shape)?;
    decode(tensor, tensor.blob.bytes(), shape.iter().product())
}

fn decode(tensor: &TensorInfo, bytes: &[u8], elements: usize) -> Result<Vec<f32>, LoadError> {
    let mut out = vec![0.0; elements];
    dequantise(tensor.ty, bytes, &mut out)
        .map_err(|source| LoadError::Dequantise { name: tensor.name.clone(), source })?;
    Ok(out)
}

fn check_shape(tensor: &TensorInfo, shape: &[usize]) -> Result<(), LoadError> {
    if tensor.shape == shape {
        return Ok(());
    }
    Err(LoadError::Shape { name: tensor.name.clone(), found: tensor.shape.clone(), expected: shape.to_vec() })
}

fn missing(name: &str) -> LoadError {
    LoadError::Missing { name: name.into() }
}

//! Decoders from GGUF files: the description from the metadata, the weights from the tensors.

mod tensors;

use burn::tensor::Device;
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::channel::{ChannelSpec, Gate, GatedSpec};
use headwise_nn::mixer::{MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::{Divisors, Linear, RopeScaling, RopeSpec};

use super::load::{Loader, Names, Weights};
use super::{Decoder, DecoderSpec, LoadError, ModelFamily};
use crate::gguf::{Gguf, Metadata};
pub(super) use tensors::ROPE_DIVISORS;
use tensors::Tensors;

/// The architectures that are understood.
const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// The architecture of files that describe a model in the words of this program, because no other architecture has it.
pub(super) const OWN: &str = "headwise";
/// What such a file says: the text of a `headwise.toml`.
pub(super) const DESCRIPTION: &str = "headwise.description";

/// Keys of an architecture that are understood; any other is an error.
const KEYS: [&str; 21] = [
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
    "attention.sliding_window_pattern",
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

pub(super) const NAMES: Names = Names {
    embedding: "token_embd",
    factor_up: "token_embd_up",
    factor_down: "token_embd_down",
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

/// Base of the angles where the file says nothing.
const THETA: f64 = 10_000.0;
/// Gemma 3: every sixth layer attends to the whole text, the others to a window.
const GEMMA3_PERIOD: usize = 6;
/// Gemma 3 27B, told by its layers as in llama.cpp: its query scale is not the head's size, and no key says so.
const GEMMA3_27B_LAYERS: usize = 62;

impl DecoderSpec {
    /// Reads the description of a decoder from the metadata of a GGUF file.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LoadError> {
        if gguf.metadata().string("general.architecture")? == OWN {
            let text = gguf.metadata().string(DESCRIPTION)?;
            let spec: Self = toml::from_str(text).map_err(|error| LoadError::Description(error.to_string()))?;
            spec.check()?;
            return Ok(spec);
        }
        let reader = Reader::new(gguf)?;
        let layers = Self::check_layers(reader.usize("block_count")?)?;
        let embedding = gguf.tensor("token_embd.weight").ok_or_else(|| LoadError::missing("token_embd.weight"))?;
        let dim = reader.usize("embedding_length")?;
        let spec = Self {
            family: ModelFamily::Decoder,
            // The shape is checked in full when the tensor is read.
            vocabulary: embedding.shape.first().copied().unwrap_or_default(),
            dim,
            context: reader.usize("context_length")?,
            epsilon: f64::from(reader.metadata.f32(&reader.key("attention.layer_norm_rms_epsilon"))?),
            embedding_scale: reader.gemma3().then(|| (dim as f32).sqrt()),
            position: None,
            tied: gguf.tensor("output.weight").is_none(),
            final_norm: true,
            embedding_dim: None,
            shared_by: 1,
            final_softcap: reader.number("final_logit_softcapping")?.filter(|&cap| cap != 0.0).map(|cap| cap as f32),
            sentinels: None,
            layers: (0..layers).map(|layer| reader.layer(gguf, layer, dim)).collect::<Result<_, _>>()?,
        };
        spec.check()?;
        Ok(spec)
    }
}

impl Decoder {
    /// Loads a model from a GGUF file, its weights in the form `weights`.
    ///
    /// Norm scales are used as they are: converters have added the one that Gemma's checkpoints leave out.
    pub fn from_gguf(gguf: &Gguf, weights: Weights, device: &Device) -> Result<Self, LoadError> {
        let spec = DecoderSpec::from_gguf(gguf)?;
        if spec.position.is_some() {
            return Err(LoadError::Description("position: GGUF files have no vectors of positions".into()));
        }
        let architecture = gguf.metadata().string("general.architecture")?;
        let source = Tensors::new(gguf);
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
            let supported = format!("{}, {OWN}", ARCHITECTURES.join(", "));
            return Err(LoadError::Architecture { found: architecture.into(), supported });
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

    fn gemma3(&self) -> bool {
        self.architecture == "gemma3"
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

    fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        Ok(self.metadata.optional_f32(&self.key(key))?.map(f64::from))
    }

    fn not_understood(&self, key: &str, value: String) -> LoadError {
        LoadError::Setting { architecture: self.architecture.into(), key: self.key(key), value }
    }

    fn layer(&self, gguf: &Gguf, layer: usize, dim: usize) -> Result<BlockSpec, LoadError> {
        let heads = self.usize("attention.head_count")?;
        let head_dim = self.head_dim(dim, heads)?;
        let window = self.window(layer)?;
        // Gemma 3 alone rotates layers with a window differently: by another base, and never scaled.
        let rope = match window {
            Some(_) if self.gemma3() => RopeSpec {
                dims: self.optional("rope.dimension_count")?,
                ..RopeSpec::new(self.number("rope.freq_base_swa")?.unwrap_or(THETA))
            },
            _ => self.rope(gguf, head_dim)?,
        };
        let has = |name: &str| gguf.tensor(&format!("blk.{layer}.{name}")).is_some();
        let unusual_scale = self.gemma3() && self.usize("block_count")? == GEMMA3_27B_LAYERS;
        Ok(BlockSpec {
            mixer: MixerSpec::from(SoftmaxSpec {
                heads,
                kv_heads: Some(self.optional("attention.head_count_kv")?.unwrap_or(heads)),
                head_dim: Some(head_dim),
                position: rope.into(),
                window,
                bias: has("attn_q.bias"),
                qk_norm: has("attn_q_norm.weight"),
                scale: unusual_scale.then(|| (heads as f32 / dim as f32).sqrt()),
                ..SoftmaxSpec::default()
            }),
            channel: Some(ChannelSpec::from(GatedSpec {
                hidden: self.usize("feed_forward_length")?,
                gate: if self.gemma3() { Gate::GeluTanh } else { Gate::Silu },
            })),
            norms: if self.gemma3() { Norms::Sandwich } else { Norms::Pre },
            norm: NormSpec::Rms,
        })
    }

    fn head_dim(&self, dim: usize, heads: usize) -> Result<usize, LoadError> {
        let head_dim = match self.optional("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if heads > 0 && dim.is_multiple_of(heads) => dim / heads,
            None => return Err(LoadError::HeadDim { dim, heads }),
        };
        match self.optional("attention.value_length")? {
            Some(value_dim) if value_dim != head_dim => {
                let value = format!("{value_dim}, the keys have {head_dim}");
                Err(self.not_understood("attention.value_length", value))
            }
            _ => Ok(head_dim),
        }
    }

    /// The window of a layer: Gemma 3 has one in all but every n-th layer, the others in all layers or in none.
    fn window(&self, layer: usize) -> Result<Option<usize>, LoadError> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        let window = self.optional("attention.sliding_window")?.filter(|&window| window > 0);
        let period = match self.optional(PATTERN)? {
            Some(period) if period == 0 || !self.gemma3() => {
                return Err(self.not_understood(PATTERN, period.to_string()));
            }
            Some(period) => period,
            None => GEMMA3_PERIOD,
        };
        Ok(window.filter(|_| !self.gemma3() || !(layer + 1).is_multiple_of(period)))
    }

    fn rope(&self, gguf: &Gguf, head_dim: usize) -> Result<RopeSpec, LoadError> {
        let dims = self.optional("rope.dimension_count")?;
        let linear = self.linear_factor()?;
        let divisors = match gguf.tensor(ROPE_DIVISORS) {
            Some(tensor) => Some(tensors::floats(tensor, &[dims.unwrap_or(head_dim) / 2])?),
            None => None,
        };
        let scaling = match (divisors, linear) {
            (Some(_), Some(factor)) => {
                let value = format!("{factor} beside the tensor {ROPE_DIVISORS}");
                return Err(self.not_understood("rope.scaling.factor", value));
            }
            (Some(divisors), None) => Some(RopeScaling::from(Divisors { divisors })),
            (None, factor) => factor.map(|factor| RopeScaling::from(Linear { factor })),
        };
        Ok(RopeSpec { theta: self.number("rope.freq_base")?.unwrap_or(THETA), dims, scaling })
    }

    /// The factor by which all angles are divided. As in llama.cpp, a factor without a type is one, and 0 is none.
    fn linear_factor(&self) -> Result<Option<f64>, LoadError> {
        let factor = self.number("rope.scaling.factor")?.filter(|&factor| factor != 0.0 && factor != 1.0);
        match self.metadata.optional_string(&self.key("rope.scaling.type"))? {
            None | Some("linear") => Ok(factor),
            Some("none") => Ok(None),
            Some(other) => {
                Err(self.not_understood("rope.scaling.type", format!("`{other}` (supported: none, linear)")))
            }
        }
    }
}

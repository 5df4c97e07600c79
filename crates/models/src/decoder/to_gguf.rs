//! A [`Decoder`] as a GGUF file: the description as metadata, the weights as tensors of any type.
//!
//! A model that llama.cpp has is written as llama.cpp has it (names, keys, rows of queries and keys with rotary pairs side by side), so
//! that both programs read it. Whether it is one is found out by reading the file back: if another model comes out, the file gets the
//! architecture `headwise` and the text of a `headwise.toml`, which says everything.

use headwise_kernels::rope::{Scaling, inverse_frequencies};
use headwise_nn::Embedding;
use headwise_nn::block::Norms;
use headwise_nn::mixer::{Heads, MixerSpec, SoftmaxSpec};
use headwise_nn::named::{self, Named};
use headwise_nn::position::{Divisors, Linear, Llama3, PositionSpec, RopeScaling, RopeSpec};

use super::from_gguf::{DESCRIPTION, NAMES, OWN, ROPE_DIVISORS};
use super::load::side_by_side;
use super::{Decoder, DecoderSpec, ExportError};
use crate::gguf::{Gguf, Metadata, QuantiseError, TensorInfo, TensorType, quantise};

/// A weight in the form in which a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The type of its elements.
    pub ty: TensorType,
    /// Its elements.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// `weight` as elements of type `ty`, each as near as the type allows.
    pub fn nearest(weight: &Named, ty: TensorType) -> Result<Self, QuantiseError> {
        let row = weight.shape.last().copied().unwrap_or(1);
        Ok(Self { ty, bytes: quantise(ty, &weight.values, row)? })
    }
}

impl Decoder {
    /// The model as a GGUF file. `about` is what else the file says: its name, its tokenizer. Matrices become what `encode` makes of
    /// them, everything else stays in 32-bit floats.
    pub fn to_gguf(
        &self,
        about: &Metadata,
        mut encode: impl FnMut(&Named) -> Result<Encoded, QuantiseError>,
    ) -> Result<Gguf, ExportError> {
        if matches!(self.embedding, Embedding::Packed(_)) {
            return Err(ExportError::Packed);
        }
        let spec = self.spec().resolved();
        if let Some(position) = &spec.position {
            return Err(ExportError::NoPlace { weight: format!("position = {position}") });
        }
        let mut tensors = Vec::new();
        for weight in named::read(self).into_iter().filter(|weight| !is_idle(&spec, &weight.name)) {
            let failed = |source| ExportError::Quantise { weight: weight.name.clone(), source };
            let name = NAMES.of(&weight.name).ok_or_else(|| ExportError::NoPlace { weight: weight.name.clone() })?;
            let encoded = match weight.shape.len() {
                2 => encode(&weight),
                _ => Encoded::nearest(&weight, TensorType::F32),
            };
            let Encoded { ty, bytes } = encoded.map_err(failed)?;
            tensors.push(TensorInfo { name, shape: weight.shape, ty, blob: bytes.into() });
        }
        match in_llama_cpp(&spec, about, &tensors)? {
            Some(file) => Ok(file),
            None => {
                let text = toml::to_string(&spec).expect("a spec is plain data");
                let described = [("general.architecture", OWN), (DESCRIPTION, text.as_str())];
                Ok(Gguf::new(with(about, described.into_iter().collect()), tensors)?)
            }
        }
    }
}

/// Whether `name` is a norm around a channel mixer that a layer does not have.
fn is_idle(spec: &DecoderSpec, name: &str) -> bool {
    let Some((layer, path)) = name.strip_prefix("blocks.").and_then(|path| path.split_once('.')) else { return false };
    let layer = layer.parse().ok().and_then(|index: usize| spec.layers.get(index * spec.shared_by));
    path.starts_with("channel_norms.") && layer.is_some_and(|layer| layer.channel.is_none())
}

/// `metadata`, then what `about` says besides.
fn with(about: &Metadata, mut metadata: Metadata) -> Metadata {
    // The format of quantised blocks, as ggml counts.
    metadata.insert("general.quantization_version", 2u32);
    for (key, value) in about.iter() {
        if !metadata.contains(key) {
            metadata.insert(key, value.clone());
        }
    }
    metadata
}

/// The file as llama.cpp has it; none if it has no such model.
fn in_llama_cpp(spec: &DecoderSpec, about: &Metadata, tensors: &[TensorInfo]) -> Result<Option<Gguf>, ExportError> {
    let Some((architecture, described)) = describe(spec) else { return Ok(None) };
    let mut tensors = tensors.to_vec();
    let Some(Heads { heads, kv_heads, .. }) = first(spec).map(|mixer| mixer.sizes(spec.dim)) else { return Ok(None) };
    if architecture == "llama" {
        for tensor in &mut tensors {
            let heads = match tensor.name.split('.').nth(2) {
                Some("attn_q") => heads,
                Some("attn_k") => kv_heads,
                _ => continue,
            };
            let bytes = tensor.blob.bytes();
            if bytes.len().is_multiple_of(tensor.shape[0]) && tensor.shape[0].is_multiple_of(2 * heads) {
                tensor.blob = side_by_side(bytes, heads, bytes.len() / tensor.shape[0]).into();
            }
        }
    }
    if let Some(divisors) = divisors(spec) {
        let bytes: Vec<u8> = divisors.iter().flat_map(|divisor| divisor.to_le_bytes()).collect();
        let shape = vec![divisors.len()];
        tensors.push(TensorInfo { name: ROPE_DIVISORS.into(), shape, ty: TensorType::F32, blob: bytes.into() });
    }
    let file = Gguf::new(with(about, described), tensors)?;
    let same = DecoderSpec::from_gguf(&file).is_ok_and(|read| comparable(&read) == comparable(spec));
    Ok(same.then_some(file))
}

fn first(spec: &DecoderSpec) -> Option<&SoftmaxSpec> {
    spec.layers.first()?.mixer.softmax()
}

/// The name of the architecture that the first layer is of, and the metadata that would describe the model if all its layers were.
fn describe(spec: &DecoderSpec) -> Option<(&'static str, Metadata)> {
    let (block, mixer) = (spec.layers.first()?, first(spec)?);
    let architecture = match block.norms {
        Norms::Sandwich => "gemma3",
        _ if mixer.qk_norm => "qwen3",
        _ if mixer.bias => "qwen2",
        _ => "llama",
    };
    let Heads { heads, kv_heads, head_dim } = mixer.sizes(spec.dim);
    let last = spec.layers.last()?.mixer.softmax()?;
    // Of Gemma's layers the first have a window and rotate by a base of their own.
    let full = spec.layers.iter().filter_map(|layer| layer.mixer.softmax()).find(|mixer| mixer.window.is_none());
    let rope = full.unwrap_or(last).rope()?;
    let mut metadata: Metadata = [("general.architecture", architecture)].into_iter().collect();
    let mut set = |key: &str, value: u32| metadata.insert(format!("{architecture}.{key}"), value);
    set("block_count", spec.layers.len() as u32);
    set("context_length", spec.context as u32);
    set("embedding_length", spec.dim as u32);
    set("feed_forward_length", block.channel.as_ref()?.hidden() as u32);
    set("attention.head_count", heads as u32);
    set("attention.head_count_kv", kv_heads as u32);
    set("attention.key_length", head_dim as u32);
    set("attention.value_length", head_dim as u32);
    set("rope.dimension_count", rope.dims.unwrap_or(head_dim) as u32);
    set("vocab_size", spec.vocabulary as u32);
    if let (Some(window), "gemma3") = (mixer.window, architecture) {
        set("attention.sliding_window", window as u32);
    }
    let mut set = |key: &str, value: f64| metadata.insert(format!("{architecture}.{key}"), value as f32);
    set("attention.layer_norm_rms_epsilon", spec.epsilon);
    set("rope.freq_base", rope.theta);
    if let (Some(window), "gemma3") = (mixer.window.and(mixer.rope()), architecture) {
        set("rope.freq_base_swa", window.theta);
    }
    if let Some(RopeScaling::Linear(Linear { factor })) = &rope.scaling {
        set("rope.scaling.factor", *factor);
        metadata.insert(format!("{architecture}.rope.scaling.type"), "linear");
    }
    Some((architecture, metadata))
}

/// What the rotary angles of the first layer are divided by, one number for each pair.
fn divisors(spec: &DecoderSpec) -> Option<Vec<f32>> {
    let rope = first(spec)?.rope()?;
    match in_divisors(rope, first(spec)?.sizes(spec.dim).head_dim).scaling {
        Some(RopeScaling::Divisors(Divisors { divisors })) => Some(divisors),
        _ => None,
    }
}

/// The same rotation, with the scaling of Llama 3 written out as GGUF files have it.
fn in_divisors(rope: &RopeSpec, head_dim: usize) -> RopeSpec {
    let Some(RopeScaling::Llama3(Llama3 { factor, low_freq_factor, high_freq_factor, original_context })) =
        rope.scaling
    else {
        return rope.clone();
    };
    let dims = rope.dims.unwrap_or(head_dim);
    let original_max = original_context as f64;
    let scaled = Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max };
    let [plain, scaled] = [Scaling::None, scaled].map(|scaling| inverse_frequencies(dims, rope.theta, scaling));
    let divisors = plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect();
    RopeSpec { scaling: Some(Divisors { divisors }.into()), ..rope.clone() }
}

/// The same description, with sizes written out and numbers as precise as metadata is.
fn comparable(spec: &DecoderSpec) -> DecoderSpec {
    let rounded = |value: f64| f64::from(value as f32);
    let mut spec = spec.resolved();
    spec.epsilon = rounded(spec.epsilon);
    let dim = spec.dim;
    for layer in &mut spec.layers {
        let MixerSpec::SoftmaxSpec(mixer) = &mut layer.mixer else { continue };
        let head_dim = mixer.sizes(dim).head_dim;
        if let PositionSpec::RopeSpec(rope) = &mut mixer.position {
            *rope = RopeSpec {
                theta: rounded(rope.theta),
                dims: Some(rope.dims.unwrap_or(head_dim)),
                ..in_divisors(rope, head_dim)
            };
        }
    }
    spec
}

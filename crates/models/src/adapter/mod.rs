//! LoRA adapters in the form of PEFT: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! The file has `lora_A` `[r, inputs]` and `lora_B` `[outputs, r]` for every projection that was trained, and the model then computes
//! `W x + s B (A x)` with `s = lora_alpha / r`, or `lora_alpha / √r` with `use_rslora` (Kalajdzievski 2023, arXiv:2312.03732). Rows are in the order
//! of Hugging Face's models, which is the order of every [`Decoder`](crate::decoder::Decoder): readers of other formats restore it.

mod config;
mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use headwise_nn::adapter::{Adapter, LowRank, Projection};
use headwise_nn::channel::ChannelSpec;

use self::config::Config;
pub use self::error::AdapterError;
use crate::decoder::DecoderSpec;
use crate::safetensors::{Checkpoint, TensorView};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What all names of tensors begin with.
const PREFIX: &str = "base_model.model.model.layers.";

/// What Hugging Face's models call the projections of a layer.
const MODULES: [(&str, Projection); 7] = [
    ("self_attn.q_proj", Projection::Query),
    ("self_attn.k_proj", Projection::Key),
    ("self_attn.v_proj", Projection::Value),
    ("self_attn.o_proj", Projection::Output),
    ("mlp.gate_proj", Projection::Gate),
    ("mlp.up_proj", Projection::Up),
    ("mlp.down_proj", Projection::Down),
];

/// Reads the adapter in `folder` for a model that is as `model` says.
///
/// # Errors
/// If a file cannot be read, if the configuration asks for anything but additions to projections of attention and gated channel mixers, or if the
/// tensors are not those of the model and the configuration.
pub fn open(folder: &Path, model: &DecoderSpec) -> Result<Adapter, AdapterError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|source| AdapterError::File { path, source })?;
    let config = Config::parse(&text)?;
    let weights = folder.join(WEIGHTS);
    if !weights.exists() {
        return Err(AdapterError::NoWeights { folder: folder.into() });
    }
    read(&config, &Checkpoint::open(weights)?, model)
}

/// Whether `adapter` is for a model of the sizes of `model`.
pub fn check(adapter: &Adapter, model: &DecoderSpec) -> Result<(), AdapterError> {
    let fits = |layer: usize, projection: Projection| {
        let change = adapter.get(layer, projection);
        change.is_none_or(|change| shape(model, layer, projection) == Some(change.shape()))
    };
    let layers = model.layers.len();
    match adapter.layers() == layers && (0..layers).all(|layer| Projection::ALL.iter().all(|&of| fits(layer, of))) {
        true => Ok(()),
        false => Err(AdapterError::OtherModel),
    }
}

/// `[outputs, inputs]` of a projection of layer `layer`; none if the layer has no such projection.
fn shape(model: &DecoderSpec, layer: usize, projection: Projection) -> Option<[usize; 2]> {
    let (dim, layer) = (model.dim, model.layers.get(layer)?);
    let heads = layer.mixer.softmax().map(|mixer| mixer.sizes(dim));
    let hidden = match &layer.channel {
        Some(ChannelSpec::GatedSpec(gated)) => Some(gated.hidden),
        _ => None,
    };
    Some(match projection {
        Projection::Query => [heads?.heads * heads?.head_dim, dim],
        Projection::Key | Projection::Value => [heads?.kv_heads * heads?.head_dim, dim],
        Projection::Output => [dim, heads?.heads * heads?.head_dim],
        Projection::Gate | Projection::Up => [hidden?, dim],
        Projection::Down => [dim, hidden?],
    })
}

/// The matrices of one projection in a file.
#[derive(Default)]
struct Pair<'a> {
    a: Option<&'a TensorView>,
    b: Option<&'a TensorView>,
}

/// A projection in a file: index of the layer, and index in [`MODULES`].
type Key = (usize, usize);

/// What PEFT calls the projection `key`.
fn path((layer, module): Key) -> String {
    format!("model.layers.{layer}.{}", MODULES[module].0)
}

/// The adapter that `config` describes and `file` holds.
fn read(config: &Config, file: &Checkpoint, model: &DecoderSpec) -> Result<Adapter, AdapterError> {
    let mut pairs: BTreeMap<Key, Pair<'_>> = BTreeMap::new();
    for tensor in file.tensors() {
        let (key, is_a) = place(&tensor.name).ok_or_else(|| AdapterError::Tensor { tensor: tensor.name.clone() })?;
        let pair = pairs.entry(key).or_default();
        *(if is_a { &mut pair.a } else { &mut pair.b }) = Some(tensor);
    }
    check_targets(config, &pairs, model)?;
    let mut adapter = Adapter::new(model.layers.len());
    for (key @ (layer, module), Pair { a, b }) in pairs {
        let (path, projection) = (path(key), MODULES[module].1);
        let missing = |part: &str| AdapterError::Missing { tensor: format!("base_model.model.{path}.{part}.weight") };
        let (a, b) = (a.ok_or_else(|| missing("lora_A"))?, b.ok_or_else(|| missing("lora_B"))?);
        let Some([outputs, inputs]) = shape(model, layer, projection) else {
            return Err(AdapterError::NoProjection { module: path, layers: model.layers.len() });
        };
        let (rank, scale) = config.rank_and_scale(&path)?;
        check_shape(a, [rank, inputs])?;
        check_shape(b, [outputs, rank])?;
        adapter.set(layer, projection, LowRank::new(&a.to_f32()?, &b.to_f32()?, scale, [outputs, rank, inputs]));
    }
    Ok(adapter)
}

/// Where the tensor `name` belongs, and whether it is `A`.
fn place(name: &str) -> Option<(Key, bool)> {
    let (layer, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let (module, part) = rest.split_once(".lora_")?;
    let module = MODULES.iter().position(|(known, _)| *known == module)?;
    let is_a = match part {
        "A.weight" => true,
        "B.weight" => false,
        _ => return None,
    };
    // As PEFT writes it, so that no two names are one place.
    let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    Some(((number, module), is_a))
}

/// Whether the file has what the configuration says that was trained, and nothing else.
fn check_targets(config: &Config, pairs: &BTreeMap<Key, Pair<'_>>, model: &DecoderSpec) -> Result<(), AdapterError> {
    if let Some(key) = pairs.keys().find(|key| config.targets(&path(**key)) == Some(false)) {
        return Err(AdapterError::Untargeted { module: path(*key) });
    }
    let all = (0..model.layers.len()).flat_map(|layer| (0..MODULES.len()).map(move |module| (layer, module)));
    let mut there = all.filter(|&(layer, module)| shape(model, layer, MODULES[module].1).is_some());
    let lacks = |key: &Key| config.needs(key.0, &path(*key)) && !pairs.contains_key(key);
    match there.find(lacks) {
        Some(key) => Err(AdapterError::Missing { tensor: format!("base_model.model.{}.lora_A.weight", path(key)) }),
        None if pairs.is_empty() => Err(AdapterError::Empty),
        None => Ok(()),
    }
}

fn check_shape(tensor: &TensorView, expected: [usize; 2]) -> Result<(), AdapterError> {
    match tensor.shape == expected {
        true => Ok(()),
        false => Err(AdapterError::Shape { tensor: tensor.name.clone(), found: tensor.shape.clone(), expected }),
    }
}

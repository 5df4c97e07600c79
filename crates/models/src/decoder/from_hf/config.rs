//! `config.json` to the description of a decoder.

#[cfg(test)]
mod tests;

use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::channel::{ChannelSpec, Gate, GatedSpec};
use headwise_nn::mixer::{MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;

use super::super::{DecoderSpec, LoadError, ModelFamily};
use super::architecture::{Architecture, Windows};
use super::keys::Keys;
use super::rotation::Rotations;

/// Window, pattern and first layer with a window where the keys are missing, as in transformers.
const WINDOW: usize = 4096;
const PATTERN: usize = 6;
const MAX_WINDOW_LAYERS: usize = 28;
/// Gemma: scores are divided by the root of this where the key is missing.
const QUERY_SCALAR: f64 = 256.0;

/// Reads the text of a `config.json`.
pub fn read(text: &str) -> Result<(&'static Architecture, DecoderSpec), LoadError> {
    let mut keys = Keys::parse(text)?;
    let (model_type, classes) = (keys.need::<String>("model_type")?, keys.take::<Vec<String>>("architectures")?);
    let architecture = Architecture::find(&model_type, classes.as_deref())?;
    keys.set_architecture(architecture.model_type);
    let spec = decoder(&mut keys, architecture)?;
    keys.finish()?;
    spec.check()?;
    Ok((architecture, spec))
}

fn decoder(keys: &mut Keys, architecture: &Architecture) -> Result<DecoderSpec, LoadError> {
    let gemma = architecture.gemma;
    let dim = keys.need("hidden_size")?;
    let layers = DecoderSpec::check_layers(keys.need("num_hidden_layers")?)?;
    let windows = windows(keys, architecture.windows, layers)?;
    let rotations = Rotations::read(keys, gemma)?;
    let mixer = mixer(keys, architecture, dim)?;
    let channel = GatedSpec { hidden: keys.need("intermediate_size")?, gate: gate(keys, gemma)? };
    let layer = |window: Option<usize>| BlockSpec {
        mixer: MixerSpec::from(SoftmaxSpec {
            position: if window.is_some() { &rotations.sliding } else { &rotations.full }.clone().into(),
            window,
            ..mixer.clone()
        }),
        channel: Some(ChannelSpec::from(channel.clone())),
        norms: if gemma { Norms::Sandwich } else { Norms::Pre },
        norm: NormSpec::Rms,
    };
    Ok(DecoderSpec {
        family: ModelFamily::Decoder,
        vocabulary: keys.need("vocab_size")?,
        dim,
        context: keys.need("max_position_embeddings")?,
        epsilon: keys.need("rms_norm_eps")?,
        embedding_scale: gemma.then(|| (dim as f32).sqrt()),
        position: None,
        tied: keys.take("tie_word_embeddings")?.unwrap_or(gemma),
        final_norm: true,
        embedding_dim: None,
        shared_by: 1,
        final_softcap: if gemma { softcap(keys, "final_logit_softcapping")? } else { None },
        sentinels: None,
        layers: windows.into_iter().map(layer).collect(),
    })
}

/// What the mixers of all layers have in common.
fn mixer(keys: &mut Keys, architecture: &Architecture, dim: usize) -> Result<SoftmaxSpec, LoadError> {
    let heads: usize = keys.need("num_attention_heads")?;
    let kv_heads = keys.take_stated("num_key_value_heads")?.unwrap_or(architecture.kv_heads).unwrap_or(heads);
    let head_dim = match keys.take("head_dim")?.or(architecture.head_dim) {
        Some(head_dim) => head_dim,
        None if heads > 0 && dim.is_multiple_of(heads) => dim / heads,
        None => return Err(LoadError::HeadDim { dim, heads }),
    };
    let (mut scale, mut cap) = (None, None);
    if architecture.gemma {
        let scalar = keys.take("query_pre_attn_scalar")?.unwrap_or(QUERY_SCALAR);
        if !(scalar.is_finite() && scalar > 0.0) {
            return Err(keys.wrong("query_pre_attn_scalar", scalar, "a number above 0"));
        }
        scale = (scalar != head_dim as f64).then(|| scalar.powf(-0.5) as f32);
        cap = softcap(keys, "attn_logit_softcapping")?;
    }
    Ok(SoftmaxSpec {
        heads,
        kv_heads: Some(kv_heads),
        head_dim: Some(head_dim),
        bias: architecture.bias,
        qk_norm: architecture.qk_norm,
        scale,
        softcap: cap,
        ..SoftmaxSpec::default()
    })
}

fn softcap(keys: &mut Keys, key: &str) -> Result<Option<f32>, LoadError> {
    Ok(keys.take::<f64>(key)?.map(|cap| cap as f32))
}

fn gate(keys: &mut Keys, gemma: bool) -> Result<Gate, LoadError> {
    let (key, default) = if gemma { ("hidden_activation", "gelu_pytorch_tanh") } else { ("hidden_act", "silu") };
    let name = keys.take::<String>(key)?;
    match name.as_deref().unwrap_or(default) {
        "silu" | "swish" => Ok(Gate::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Gate::GeluTanh),
        other => Err(keys.not_understood(key, format!("\"{other}\" (supported: silu, gelu_pytorch_tanh)"))),
    }
}

/// The window of every layer.
fn windows(keys: &mut Keys, rule: Windows, layers: usize) -> Result<Vec<Option<usize>>, LoadError> {
    if rule == Windows::Never {
        return Ok(vec![None; layers]);
    }
    let mut window: Option<usize> = keys.take_stated("sliding_window")?.unwrap_or(Some(WINDOW));
    let default = |slides: &dyn Fn(usize) -> bool| (0..layers).map(slides).collect::<Vec<_>>();
    let slides = match rule {
        Windows::Never | Windows::Always => default(&|_| true),
        Windows::Late => {
            let used = keys.take("use_sliding_window")?.unwrap_or(false);
            window = window.filter(|_| used);
            let first: usize = keys.take("max_window_layers")?.unwrap_or(MAX_WINDOW_LAYERS);
            layer_types(keys, layers)?.unwrap_or_else(|| default(&|layer| window.is_some() && layer >= first))
        }
        Windows::Pattern => {
            let (old, new) = (keys.take("sliding_window_pattern")?, keys.take("_sliding_window_pattern")?);
            let period = old.or(new).unwrap_or(PATTERN);
            if period == 0 {
                return Err(keys.wrong("sliding_window_pattern", period, "at least 1"));
            }
            layer_types(keys, layers)?.unwrap_or_else(|| default(&|layer| !(layer + 1).is_multiple_of(period)))
        }
    };
    if rule != Windows::Always && window.is_none() && slides.contains(&true) {
        return Err(keys.wrong("sliding_window", "not used", "a number, since some layers are sliding_attention"));
    }
    Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

/// Whether each layer has a window, if `layer_types` says.
fn layer_types(keys: &mut Keys, layers: usize) -> Result<Option<Vec<bool>>, LoadError> {
    const KEY: &str = "layer_types";
    let Some(types) = keys.take::<Vec<String>>(KEY)? else { return Ok(None) };
    if types.len() != layers {
        let expected = format!("{layers} of them, one for each of `num_hidden_layers`");
        return Err(keys.wrong(KEY, format!("a list of {}", types.len()), expected));
    }
    let slides = |name: &String| match name.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => Err(keys.not_understood(KEY, format!("\"{other}\" (supported: full_attention, sliding_attention)"))),
    };
    types.iter().map(slides).collect::<Result<_, _>>().map(Some)
}

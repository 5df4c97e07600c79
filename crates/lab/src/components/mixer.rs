//! Token mixers with their projections: family `mixer`.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use headwise_nn::Linear;
use headwise_nn::mixer::{HeadNorms, MixContext, MixerSpec, Segment, Softmax, SoftmaxSpec};
use headwise_nn::norm::RmsNorm;

use super::ComponentError;
use super::arrays::{Flat, Tensors};
use super::interface::{Interface, Length, TensorSpec};

/// Added to the mean square in norms of heads.
const EPSILON: f64 = 1e-6;

/// Checks the parameters.
pub(super) fn check(mixer: &MixerSpec) -> Result<(), ComponentError> {
    let MixerSpec::SoftmaxSpec(spec) = mixer;
    check_softmax(spec).map_err(|text| ComponentError::Parameter(format!("`softmax`: {text}")))
}

/// What it takes and gives.
pub(super) fn interface(mixer: &MixerSpec) -> Interface {
    let MixerSpec::SoftmaxSpec(spec) = mixer;
    softmax_interface(spec)
}

/// Computes the outputs.
pub(super) fn run(mixer: &MixerSpec, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let MixerSpec::SoftmaxSpec(spec) = mixer;
    run_softmax(spec, tensors)
}

fn kv_heads(spec: &SoftmaxSpec) -> usize {
    spec.kv_heads.unwrap_or(spec.heads)
}

fn check_softmax(spec: &SoftmaxSpec) -> Result<(), String> {
    let (heads, kv_heads) = (spec.heads, kv_heads(spec));
    match () {
        () if heads == 0 => Err("heads=0: it must be at least 1".into()),
        () if kv_heads == 0 || heads % kv_heads != 0 => {
            Err(format!("kv_heads={kv_heads} must be at least 1 and divide heads={heads}"))
        }
        () if spec.head_dim == Some(0) => Err("head_dim=0: it must be at least 1".into()),
        () if spec.head_dim.is_some_and(|width| width.checked_mul(heads).is_none()) => {
            Err(format!("heads={heads} of this head_dim are too many"))
        }
        () if spec.rope().is_some() && spec.head_dim.is_some_and(|width| width % 2 == 1) => {
            Err("head_dim must be even for position=rope: channels turn in pairs".into())
        }
        () if spec.window == Some(0) => Err("window=0 hides every key: it must be at least 1".into()),
        () if spec.rope().is_some_and(|rope| rope.theta <= 0.0) => Err("theta must be above 0".into()),
        () if spec.softcap.is_some_and(|cap| cap <= 0.0) => Err("softcap must be above 0".into()),
        () => Ok(()),
    }
}

/// The width of `times` heads.
fn width(spec: &SoftmaxSpec, times: usize) -> Length {
    match spec.head_dim {
        Some(head_dim) => Length::Known(times * head_dim),
        None if times == spec.heads => Length::Symbol("dim"),
        // `run` checks that all heads divide `dim`.
        None if spec.heads.is_multiple_of(times) => {
            Length::Share { symbol: "dim", times: 1, parts: spec.heads / times }
        }
        None => Length::Share { symbol: "dim", times, parts: spec.heads },
    }
}

fn softmax_interface(spec: &SoftmaxSpec) -> Interface {
    let dim = Length::Symbol("dim");
    let (queries, keys, head) = (width(spec, spec.heads), width(spec, kv_heads(spec)), width(spec, 1));
    let mut parameters = vec![
        TensorSpec::float("query.weight", [queries, dim]),
        TensorSpec::float("key.weight", [keys, dim]),
        TensorSpec::float("value.weight", [keys, dim]),
        TensorSpec::float("output.weight", [dim, queries]),
    ];
    if spec.bias {
        let biases = [("query.bias", queries), ("key.bias", keys), ("value.bias", keys)];
        parameters.extend(biases.map(|(name, width)| TensorSpec::float(name, [width])));
    }
    if spec.qk_norm {
        parameters.extend(["query_norm.weight", "key_norm.weight"].map(|name| TensorSpec::float(name, [head])));
    }
    let tokens = |name| TensorSpec::symbolic(name, ["batch", "tokens", "dim"]);
    Interface { inputs: vec![tokens("x")], parameters, outputs: vec![tokens("output")] }
}

/// Checks that the heads fit `dim` channels.
fn check_dim(spec: &SoftmaxSpec, dim: usize) -> Result<(), ComponentError> {
    let head_dim = spec.sizes(dim).head_dim;
    let whole = spec.head_dim.is_some() || dim.is_multiple_of(spec.heads);
    if !whole || (spec.rope().is_some() && head_dim % 2 == 1) {
        let even = if spec.rope().is_some() { " of an even number of channels" } else { "" };
        let text = format!("dim = {dim} of `x` does not divide into {} heads{even}; give head_dim", spec.heads);
        return Err(ComponentError::Lengths(text));
    }
    Ok(())
}

fn run_softmax(spec: &SoftmaxSpec, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let x: Tensor<3> = tensors.float("x");
    let [_, tokens, dim] = x.dims();
    let projections = ["query", "key", "value", "output"].map(|name| linear(tensors, name));
    let norm = |name: &str| RmsNorm { weight: parameter(tensors.float(name)), epsilon: EPSILON };
    let norms = spec.qk_norm.then(|| HeadNorms { query: norm("query_norm.weight"), key: norm("key_norm.weight") });
    let positions: Vec<i32> = (0..tokens as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..tokens }];
    let mut context = MixContext { positions: &positions, segments: &segments, layer: 0, cache: None };
    check_dim(spec, dim)?;
    let mixed = Softmax::new(spec.clone(), dim, projections, norms).forward(x, &mut context);
    Ok(vec![("output", Flat::new(mixed))])
}

/// The projection called `name`; files hold its weight as `[outputs, inputs]`, the layer `[inputs, outputs]`.
fn linear(tensors: &Tensors, name: &str) -> Linear {
    let weight: Tensor<2> = tensors.float(&format!("{name}.weight"));
    let bias: Option<Tensor<1>> = tensors.find(&format!("{name}.bias"));
    Linear::Float(burn::nn::Linear { weight: parameter(weight.transpose()), bias: bias.map(parameter) })
}

/// `value` as a parameter that leaves the way of gradients to the tensor it was made of.
fn parameter<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), value)
}

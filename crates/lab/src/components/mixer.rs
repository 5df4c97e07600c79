//! Token mixers with their projections: family `mixer`.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use headwise_nn::Linear;
use headwise_nn::mixer::{HeadNorms, MixContext, MixerSpec, Segment, ShortConvolution, Softmax, SoftmaxSpec};
use headwise_nn::norm::RmsNorm;
use headwise_spec::Family;

use super::ComponentError;
use super::arrays::{Flat, Tensors};
use super::interface::{Interface, Length, TensorSpec};

/// Added to the mean square in norms of heads.
const EPSILON: f64 = 1e-6;

/// The weights of a convolution of queries, keys and values.
const CONVOLUTIONS: [&str; 3] = ["query_convolution.weight", "key_convolution.weight", "value_convolution.weight"];

/// Checks the parameters.
pub(super) fn check(mixer: &MixerSpec) -> Result<(), ComponentError> {
    softmax(mixer)?.check_alone().map_err(|text| ComponentError::Parameter(format!("`softmax`: {text}")))
}

/// What it takes and gives.
pub(super) fn interface(mixer: &MixerSpec) -> Interface {
    softmax(mixer).map(softmax_interface).unwrap_or_default()
}

/// Computes the outputs.
pub(super) fn run(mixer: &MixerSpec, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    run_softmax(softmax(mixer)?, tensors)
}

/// The only mixer that runs alone so far.
fn softmax(mixer: &MixerSpec) -> Result<&SoftmaxSpec, ComponentError> {
    let reason =
        || ComponentError::Parameter(format!("`{}` cannot be run alone yet: only `softmax` can", mixer.name()));
    mixer.softmax().ok_or_else(reason)
}

fn kv_heads(spec: &SoftmaxSpec) -> usize {
    spec.kv_heads.unwrap_or(spec.heads)
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
    if let Some(width) = spec.convolution {
        let widths = [queries, keys, keys].map(|channels| [channels, Length::Known(width)]);
        parameters.extend(CONVOLUTIONS.into_iter().zip(widths).map(|(name, shape)| TensorSpec::float(name, shape)));
    }
    let tokens = |name| TensorSpec::symbolic(name, ["batch", "tokens", "dim"]);
    Interface { inputs: vec![tokens("x")], parameters, outputs: vec![tokens("output")] }
}

fn run_softmax(spec: &SoftmaxSpec, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let x: Tensor<3> = tensors.float("x");
    let [_, tokens, dim] = x.dims();
    let projections = ["query", "key", "value", "output"].map(|name| linear(tensors, name));
    let norm = |name: &str| RmsNorm { weight: parameter(tensors.float(name)), epsilon: EPSILON };
    let norms = spec.qk_norm.then(|| HeadNorms { query: norm("query_norm.weight"), key: norm("key_norm.weight") });
    let convolution = spec.convolution.map(|_| {
        let [query, key, value] = CONVOLUTIONS.map(|name| parameter(tensors.float(name)));
        ShortConvolution { query, key, value }
    });
    let positions: Vec<i32> = (0..tokens as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..tokens }];
    let mut context = MixContext { positions: &positions, segments: &segments, layer: 0, cache: None };
    spec.check(dim).map_err(ComponentError::Lengths)?;
    let mixer = Softmax::new(spec.clone(), dim, projections, norms).with_convolution(convolution);
    Ok(vec![("output", Flat::new(mixer.forward(x, &mut context)))])
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

//! Token mixers with their projections: family `mixer`. What a mixer's weights are is read off the module itself, so every mixer is here
//! as soon as it is in its family.

use burn::tensor::{Device, Tensor};
use headwise_nn::mixer::{MixContext, Mixer, MixerSpec, Segment};
use headwise_nn::named;

use super::ComponentError;
use super::arrays::{Flat, Tensors};
use super::interface::{Interface, Length, TensorSpec};

/// Added to the mean square in norms of heads.
const EPSILON: f64 = 1e-6;

/// Models that a mixer is tried in; every mixer with parameters that make sense fits into two of them.
const DIMS: std::ops::Range<usize> = 1..4096;

/// Checks the parameters.
pub(super) fn check(mixer: &MixerSpec) -> Result<(), ComponentError> {
    samples(mixer).map(drop)
}

/// Two numbers of channels that a model with the mixer can have.
fn samples(mixer: &MixerSpec) -> Result<[usize; 2], ComponentError> {
    // Even ones, so that half of them is whole.
    let mut fitting = DIMS.map(|half| 2 * half).filter(|&dim| mixer.check(dim).is_ok());
    match (fitting.next(), fitting.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => {
            let reason = mixer.check(2 * DIMS.end).err().unwrap_or_else(|| "it fits no model".into());
            Err(ComponentError::Parameter(format!("`{}`: {reason}", headwise_spec::Family::name(mixer))))
        }
    }
}

/// What it takes and gives.
pub(super) fn interface(mixer: &MixerSpec) -> Interface {
    let tokens = |name| TensorSpec::symbolic(name, ["batch", "tokens", "dim"]);
    let Ok(dims) = samples(mixer) else { return Interface::default() };
    let [first, second] = dims.map(|dim| named::read(&Mixer::random(mixer, dim, EPSILON, &Device::flex())));
    let parameters = first.into_iter().zip(second).map(|(first, second)| {
        let lengths = first.shape.iter().zip(&second.shape).map(|(&first, &second)| length([first, second], dims));
        TensorSpec::float(first.name, lengths.collect::<Vec<_>>())
    });
    Interface { inputs: vec![tokens("x")], parameters: parameters.collect(), outputs: vec![tokens("output")] }
}

/// What a length depends on that is `lengths` in models of `dims` channels: on nothing, or it is a share of them.
fn length(lengths: [usize; 2], dims: [usize; 2]) -> Length {
    if lengths[0] == lengths[1] {
        return Length::Known(lengths[0]);
    }
    assert_eq!(lengths[0] * dims[1], lengths[1] * dims[0], "a length is fixed, or a share of the model's channels");
    let divisor = gcd(lengths[0], dims[0]);
    match (lengths[0] / divisor, dims[0] / divisor) {
        (1, 1) => Length::Symbol("dim"),
        (times, parts) => Length::Share { symbol: "dim", times, parts },
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Computes the outputs.
pub(super) fn run(mixer: &MixerSpec, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let x: Tensor<3> = tensors.float("x");
    let [_, tokens, dim] = x.dims();
    mixer.check(dim).map_err(ComponentError::Lengths)?;
    let mixer = named::fill(Mixer::random(mixer, dim, EPSILON, tensors.device()), &mut Given(tensors))?;
    let positions: Vec<i32> = (0..tokens as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..tokens }];
    let mut context = MixContext::new(&positions, &segments);
    Ok(vec![("output", Flat::new(mixer.forward(x, &mut context)))])
}

/// The weights that were given, whose shapes are those of the interface.
struct Given<'a>(&'a Tensors);

impl named::Source for Given<'_> {
    type Error = ComponentError;

    fn weight<const D: usize>(&mut self, name: &str, _: [usize; D]) -> Result<Tensor<D>, ComponentError> {
        Ok(self.0.float(name))
    }
}

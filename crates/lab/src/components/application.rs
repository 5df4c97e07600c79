//! A component together with the tensors it runs on.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use headwise_models::safetensors::Checkpoint;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::arrays::{self, Flat, Tensors, tensor};
use super::interface::Lengths;
use super::{Array, Arrays, Component, ComponentError, TensorSpec, Values};

/// A component and its tensors, all checked.
#[derive(Clone, Debug)]
pub struct Application {
    component: Component,
    inputs: Arrays,
    parameters: Arrays,
    /// Whether the parameters were drawn at random, and so are worth writing.
    drawn: bool,
    /// `grad_<output>` by output, if gradients are wanted.
    upstream: Option<Arrays>,
}

impl Application {
    /// Reads the inputs from the file `input` and the parameters from `weights`; without it they are drawn from `seed`.
    ///
    /// With `gradients`, `input` also holds `grad_<output>`: that of the first output must be there, others count as zero.
    pub fn open(
        component: Component,
        input: &Path,
        weights: Option<&Path>,
        seed: u64,
        gradients: bool,
    ) -> Result<Self, ComponentError> {
        let interface = component.interface();
        if gradients && matches!(component, Component::Cache(_)) {
            return Err(ComponentError::NoGradient { name: component.name() });
        }
        let upstream_names: Vec<String> = interface.outputs.iter().map(gradient_name).collect();
        let mut lengths = Lengths::default();
        let inputs = arrays::read(input, &interface.inputs, &upstream_names, &mut lengths)?;
        let parameters = match weights {
            Some(path) => arrays::read(path, &interface.parameters, &[], &mut lengths)?,
            None => draw(&interface.parameters, &lengths, seed)?,
        };
        let upstream = gradients.then(|| read_upstream(input, &interface.outputs)).transpose()?;
        Ok(Self { component, inputs, parameters, drawn: weights.is_none(), upstream })
    }

    /// Runs the component: its outputs, the parameters if they were drawn, and `grad_<name>` if gradients are wanted.
    pub fn run(&self) -> Result<Arrays, ComponentError> {
        let device = if self.upstream.is_some() { Device::flex().autodiff() } else { Device::flex() };
        let given = self.inputs.iter().chain(&self.parameters);
        let given = given.map(|(name, array)| (name.clone(), array.clone())).collect();
        let tensors = Tensors::new(&given, device, self.upstream.is_some());
        let outputs = self.component.run(&tensors)?;
        let mut found = if self.drawn { self.parameters.clone() } else { Arrays::new() };
        if let Some(upstream) = &self.upstream {
            found.extend(gradients(&tensors, &outputs, upstream)?);
        }
        found.extend(
            outputs.into_iter().map(|(name, output)| (name.to_owned(), download(output.elements, output.shape))),
        );
        Ok(found)
    }
}

fn gradient_name(spec: &TensorSpec) -> String {
    format!("grad_{}", spec.name)
}

/// The gradients `grad_<output>` in the file at `path`; shapes are compared once the outputs are there.
fn read_upstream(path: &Path, outputs: &[TensorSpec]) -> Result<Arrays, ComponentError> {
    let file = Checkpoint::open(path)?;
    let mut upstream = Arrays::new();
    for (index, spec) in outputs.iter().enumerate() {
        let name = gradient_name(spec);
        if file.contains(&name) {
            upstream.insert(spec.name.to_string(), arrays::array(file.tensor(&name)?, spec.element_type)?);
        } else if index == 0 {
            return Err(ComponentError::Missing { path: path.to_owned(), name, wanted: spec.to_string() });
        }
    }
    Ok(upstream)
}

/// `grad_<name>` of every tensor of floats: the gradient of `Σ output · upstream`.
fn gradients(tensors: &Tensors, outputs: &[(&str, Flat)], upstream: &Arrays) -> Result<Arrays, ComponentError> {
    let mut loss: Option<Tensor<1>> = None;
    for (name, output) in outputs {
        let Some(Array { shape, values: Values::Float(values) }) = upstream.get(*name) else { continue };
        if *shape != output.shape {
            let wanted = format!("{:?}, the shape of `{name}`", output.shape);
            return Err(ComponentError::WrongShape { name: format!("grad_{name}"), found: shape.clone(), wanted });
        }
        let part = (output.elements.clone() * tensor(values.clone(), tensors.device())).sum();
        loss = Some(loss.map_or(part.clone(), |loss| loss + part));
    }
    let gradients = loss.map(|loss| loss.backward());
    let gradient = |(name, leaf): (&String, &Flat)| {
        let found = gradients.as_ref().and_then(|gradients| leaf.elements.grad(gradients));
        let found = found.unwrap_or_else(|| leaf.elements.clone().inner().zeros_like());
        (format!("grad_{name}"), download(found, leaf.shape.clone()))
    };
    Ok(tensors.floats().map(gradient).collect())
}

fn download(elements: Tensor<1>, shape: Vec<usize>) -> Array {
    let values = headwise_ops::host::Host::new(elements).as_slice().to_vec();
    Array { shape, values: Values::Float(values) }
}

/// Parameters at random: matrices and biases in `±1/√inputs`, the scales of norms between 0.5 and 1.5, so that every one
/// of them shows in the outputs.
fn draw(parameters: &[TensorSpec], lengths: &Lengths, seed: u64) -> Result<Arrays, ComponentError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
    let mut drawn = Arrays::new();
    for spec in parameters {
        let shape = lengths.shape(spec)?;
        let inputs = shape.last().copied().unwrap_or(1) as f64;
        let scale_of_norm = shape.len() == 1 && spec.name.ends_with("weight");
        let (middle, half) = if scale_of_norm { (1.0, 0.5) } else { (0.0, 1.0 / inputs.sqrt()) };
        let values = (0..shape.iter().product()).map(|_| (middle + half * uniform()) as f32).collect();
        drawn.insert(spec.name.to_string(), Array { shape, values: Values::Float(values) });
    }
    Ok(drawn)
}

//! A run that goes on from a model.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::Decoder;
use headwise_nn::named::{self, Named};
use headwise_ops::host;

use crate::model::{open, tracked};

headwise_spec::method! {
    /// The weights of a model, which learns on.
    pub struct FromModel {
        /// The model, a folder or GGUF file, whose description is that of the run.
        pub path: String = String::new(),
    }
}

impl FromModel {
    /// `model` with the weights of the other.
    pub(super) fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        let weights = named::read(&open(&self.path)?).into_iter().map(|weight| (weight.name.clone(), weight));
        let mut source = Taken { weights: weights.collect(), path: &self.path, device };
        let filled = named::fill(model, &mut source)?;
        match source.weights.keys().min() {
            Some(name) => {
                Err(format!("{} has `{name}`, the model of the run has not: describe the same one", self.path))
            }
            None => Ok(tracked(filled)),
        }
    }
}

/// The weights of a model that are not taken yet.
struct Taken<'a> {
    weights: HashMap<String, Named>,
    path: &'a str,
    device: &'a Device,
}

impl named::Source for Taken<'_> {
    type Error = String;

    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, String> {
        let (path, found) = (self.path, self.weights.remove(name));
        let weight = found.ok_or_else(|| format!("{path} has no `{name}`: describe the same model"))?;
        match weight.shape == shape {
            true => Ok(host::tensor(weight.values, shape, self.device)),
            false => Err(format!("`{name}` is {:?} in {path} and {shape:?} in the model of the run", weight.shape)),
        }
    }
}

#[cfg(test)]
mod tests {
    use headwise_models::decoder::{DecoderSpec, Precision};

    use super::*;
    use crate::model::draw;
    use crate::start::StartSpec;

    const MODEL: &str = "vocabulary = 20\ndim = 16\ncontext = 32\nepsilon = 1e-5\nlayers = [\
        { mixer = \"softmax(heads=2)\", channel = \"gated(hidden=24)\" }]";

    #[test]
    fn a_model_goes_on_from_its_own_weights() {
        let device = Device::flex().autodiff();
        let spec = |text: &str| toml::from_str::<DecoderSpec>(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let written = draw(spec(MODEL), 1, &device).unwrap();
        written.export(folder.path(), Precision::F32).unwrap();
        let start = StartSpec::from(FromModel { path: folder.path().display().to_string() });
        let from = |text: &str| start.apply(draw(spec(text), 2, &device).unwrap(), &device);
        assert_eq!(named::read(&from(MODEL).unwrap()), named::read(&written));
        let wider = from(&MODEL.replacen("hidden=24", "hidden=48", 1)).unwrap_err();
        assert!(wider.contains("blocks.0.channel.gate.weight") && wider.contains("[48, 16]"), "{wider}");
        let less = from(&MODEL.replace(", channel = \"gated(hidden=24)\"", "")).unwrap_err();
        assert!(less.contains("the model of the run has not"), "{less}");
    }
}

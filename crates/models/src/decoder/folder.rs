//! A [`Decoder`] from a folder: a Hugging Face model, or one that [`Decoder::export`] wrote.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use headwise_kernels::matrix::PackedMatrix;
use headwise_nn::{Embedding, Linear, named};
use headwise_ops::host::{self, Host, contiguous};

use super::asked::Asked;
use super::experts::packed;
use super::linears::{linears, of_experts};
use super::{Decoder, DecoderSpec, LoadError, Precision, Weights};
use crate::safetensors::{Checkpoint, Dtype};

impl Decoder {
    /// Loads the model in `directory`, its weights in the form `weights`: with a `config.json` it is a Hugging Face model, else one with
    /// a `headwise.toml`, which may have any mixers.
    pub fn open(directory: &Path, weights: Weights, device: &Device) -> Result<Self, LoadError> {
        match description(directory)? {
            Some(text) => Self::from_description(&text, &Checkpoint::open(directory)?, weights, device),
            None => Self::from_hf(directory, weights, device),
        }
    }

    /// Builds a model from the text of a `headwise.toml` and its weights, in the form `weights`.
    pub fn from_description(
        description: &str,
        checkpoint: &Checkpoint,
        weights: Weights,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let spec = described(description)?;
        let asked = Asked::new(checkpoint);
        let mut model = fill(Self::random(spec, device)?, &asked, device)?;
        asked.check_unused("headwise.toml", |_| false)?;
        if weights != Weights::Trainable {
            model.pack(precision(checkpoint, weights));
        }
        Ok(model)
    }

    /// Brings the weights of attention, channel layers, embedding and head into the layout of the inference kernels.
    pub(super) fn pack(&mut self, precision: Precision) {
        for block in &mut self.blocks {
            linears(block).into_iter().for_each(|(_, linear)| pack(linear, precision));
            of_experts(block).into_iter().for_each(|linear| pack(linear, precision));
        }
        self.head.iter_mut().for_each(|head| pack(head, precision));
        self.factor.iter_mut().for_each(|factor| {
            pack(&mut factor.up, precision);
            pack(&mut factor.down, precision);
        });
        if let Embedding::Float(table) = &self.embedding {
            self.embedding = Embedding::packed(matrix(table.weight.val(), precision));
        }
    }
}

/// Packs a layer of parameters.
fn pack(linear: &mut Linear, precision: Precision) {
    if let Linear::Float(float) = linear {
        let bias = float.bias.as_ref().map(|bias| Host::new(bias.val()).as_slice().to_vec());
        *linear = Linear::packed(matrix(float.weight.val().transpose(), precision), bias);
    }
}

/// The matrix `weight` `[outputs, inputs]` packed.
fn matrix(weight: Tensor<2>, precision: Precision) -> PackedMatrix {
    let [outputs, inputs] = weight.dims();
    let host = Host::new(contiguous(weight));
    packed(host.as_slice(), outputs, inputs, precision)
}

/// The text of the `headwise.toml` in `directory`; none if that holds a Hugging Face model.
pub(super) fn description(directory: &Path) -> Result<Option<String>, LoadError> {
    let path = directory.join("headwise.toml");
    if directory.join("config.json").exists() || !path.exists() {
        return Ok(None);
    }
    std::fs::read_to_string(&path).map(Some).map_err(|source| LoadError::ConfigFile { path, source })
}

/// The model that the text of a `headwise.toml` describes.
pub(super) fn described(description: &str) -> Result<DecoderSpec, LoadError> {
    toml::from_str(description).map_err(|error| LoadError::Description(error.to_string()))
}

/// In which type the inference form of `weights` is kept.
pub(super) fn precision(checkpoint: &Checkpoint, weights: Weights) -> Precision {
    let is_half = |name: &str| checkpoint.tensor(name).is_ok_and(|tensor| tensor.dtype == Dtype::BF16);
    match weights {
        Weights::Stored if checkpoint.names().all(is_half) => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// `model` with the weights of a checkpoint.
pub(super) fn fill(model: Decoder, asked: &Asked<'_>, device: &Device) -> Result<Decoder, LoadError> {
    named::fill(model, &mut Tensors { asked, device })
}

/// Weights from a checkpoint.
struct Tensors<'a> {
    asked: &'a Asked<'a>,
    device: &'a Device,
}

impl named::Source for Tensors<'_> {
    type Error = LoadError;

    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, LoadError> {
        let weight = host::tensor(self.asked.find(name, &shape)?.to_f32()?, shape, self.device);
        Ok(if self.device.is_autodiff() { weight.require_grad() } else { weight })
    }
}

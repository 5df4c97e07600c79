//! What can be trained, and how a spec file describes it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec, LoadError, SpecError, Weights};
use headwise_models::gguf::Gguf;

use crate::objective::{TokenOut, TokenView};

/// A model that can be trained.
pub trait Trainable: Module {
    /// What it sees.
    type View;
    /// What a loss needs of it.
    type Out;

    /// Looks.
    fn look(&self, view: &Self::View, device: &Device) -> Self::Out;
}

impl Trainable for Decoder {
    type View = TokenView;
    type Out = TokenOut;

    fn look(&self, view: &TokenView, device: &Device) -> TokenOut {
        let (hidden, balance) = self.hidden_and_balance(&view.ids, &view.positions, &view.segments, device);
        TokenOut { hidden, classifier: self.classifier(), balance }
    }
}

/// The model at `path`, a folder or GGUF file, with trainable weights; else what is wrong.
pub(crate) fn open(path: &str) -> Result<Decoder, String> {
    let (device, file) = (Device::flex(), Path::new(path));
    let read = || -> Result<Decoder, LoadError> {
        match file.is_dir() {
            true => Decoder::open(file, Weights::Trainable, &device),
            false => Decoder::from_gguf(&Gguf::open(file)?, Weights::Trainable, &device),
        }
    };
    read().map_err(|error| format!("{path}: {error}"))
}

/// A model whose weights depend on nothing but `spec` and `seed`.
pub fn draw(spec: DecoderSpec, seed: u64, device: &Device) -> Result<Decoder, SpecError> {
    draw_with(seed, device, || Decoder::random(spec, device))
}

/// The module that `make` makes, whose weights depend on nothing but that and `seed`.
pub(crate) fn draw_with<M: Module, E>(seed: u64, device: &Device, make: impl FnOnce() -> Result<M, E>) -> Result<M, E> {
    // All threads draw from one generator.
    static DRAWING: Mutex<()> = Mutex::new(());
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    let module = make()?;
    settle(&module);
    Ok(module)
}

/// Draws all weights that are still to be drawn: Burn does so when a weight is first used, which would make them depend on
/// what was drawn before.
fn settle<M: Module>(model: &M) {
    struct Settle;
    impl ModuleVisitor for Settle {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    model.visit(&mut Settle);
}

/// `module`, on a device that tracks gradients, with every weight one that they end at, whatever it was made from.
pub(crate) fn tracked<M: Module>(module: M) -> M {
    struct Leaves;
    impl ModuleMapper for Leaves {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let weight = param.val();
            let (device, data) = (weight.device(), weight.into_data());
            let weight = Tensor::from_data(data, &device);
            Param::initialized(param.id, if device.is_autodiff() { weight.require_grad() } else { weight })
        }
    }
    module.map(&mut Leaves)
}

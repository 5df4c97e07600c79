//! What can be trained, and how a spec file describes it.

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec, SpecError};

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
        let hidden = self.hidden(&view.ids, &view.positions, &view.segments, device);
        TokenOut { hidden, classifier: self.classifier() }
    }
}

/// A model whose weights depend on nothing but `spec` and `seed`.
pub fn draw(spec: DecoderSpec, seed: u64, device: &Device) -> Result<Decoder, SpecError> {
    // All threads draw from one generator.
    static DRAWING: Mutex<()> = Mutex::new(());
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    let model = Decoder::random(spec, device)?;
    settle(&model);
    Ok(model)
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

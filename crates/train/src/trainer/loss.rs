//! What a model loses in a step: as it is held, in all parts that are trained, and beside its teacher.

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::Decoder;

use super::Trainer;
use crate::model::Trainable;
use crate::objective::{Objective, TokenTarget, TokenView};

impl Trainer {
    /// `model` as the run holds it now.
    pub(super) fn held(&self, model: &Decoder) -> Decoder {
        match &self.held {
            Some(held) => held.hold(model, self.state.step, self.spec.steps()),
            None => model.clone(),
        }
    }

    /// The sum of the losses of a view by `model`, which is on `device`; with a supernet, the mean of its parts.
    pub(super) fn loss(&self, model: &Decoder, view: &TokenView, target: &TokenTarget, device: &Device) -> Tensor<1> {
        let of = |model: &Decoder| match &self.distillation {
            Some(teacher) => teacher.loss(model, &self.objective, view, target, device).sum,
            None => self.objective.loss(model.look(view, device), target).sum,
        };
        let Some(supernet) = &self.supernet else { return of(model) };
        let parts = supernet.of_step(model, self.state.step);
        let count = parts.len() as f32;
        let sum = parts.iter().map(of).reduce(|sum, more| sum + more);
        sum.expect("the whole is a part") / count
    }
}

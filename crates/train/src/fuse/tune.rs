//! A group learns to give what it gave with the layer that goes.

use std::ops::Range;

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};
use headwise_models::compress::{Calibration, Reading};
use headwise_models::decoder::Decoder;

use super::Fuse;
use super::group::FusedGroup;
use crate::optimiser::AdamW;
use crate::schedule::{Cosine, Schedule};

/// Published: no decay.
const ADAM: AdamW = AdamW { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.0 };

/// What a group is shown, and what it should make of it.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The text as it enters the group.
    pub text: Reading,
    /// The text as it leaves the group with the layer that goes: `[1, tokens, dim]`.
    pub target: Tensor<3>,
    windows: usize,
}

impl Lesson {
    /// What the layers `group` of `model` make of the text.
    pub fn of(model: &Decoder, calibration: &Calibration, group: Range<usize>) -> Self {
        let mut text = calibration.start(model);
        (0..group.start).for_each(|layer| text.advance(model, layer));
        let target = group.fold(text.hidden.clone(), |hidden, layer| text.layer(model, layer, hidden));
        Self { text, target, windows: calibration.windows().len() }
    }

    /// The loss of a group that makes `found` of the text.
    pub fn loss(&self, fuse: &Fuse, found: Tensor<3>) -> f64 {
        f64::from(loss(fuse, found, self.target.clone()).into_scalar::<f32>())
    }

    /// The group after the lesson, or the loss of a step that is not finite. `read` is told how many windows a step had.
    pub fn teach(&self, fuse: &Fuse, mut group: FusedGroup, read: &mut dyn FnMut(usize)) -> Result<FusedGroup, f64> {
        let coefficients = group.coefficients();
        let (mut fast, mut slow) = (ModuleOptimizer::from(ADAM), ModuleOptimizer::from(ADAM));
        let cosine = Schedule::from(Cosine { warmup: 0, floor: 0.0 });
        let starts = (0..self.windows).step_by(fuse.batch);
        let steps = fuse.epochs * starts.len();
        for (step, start) in (0..fuse.epochs).flat_map(|_| starts.clone()).enumerate() {
            let windows = start..(start + fuse.batch).min(self.windows);
            let loss = self.step_loss(fuse, &group, windows.clone());
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                return Err(value);
            }
            let mut gradients = loss.backward();
            let of_coefficients = GradientsParams::from_params(&mut gradients, &group, &coefficients);
            let of_others = GradientsParams::from_grads(gradients, &group);
            let factor = cosine.factor(step as u64, steps as u64);
            group = fast.step(fuse.learning_rate * factor, group, of_coefficients);
            group = slow.step(fuse.slow_learning_rate * factor, group, of_others);
            read(windows.len());
        }
        Ok(group)
    }

    fn step_loss(&self, fuse: &Fuse, group: &FusedGroup, windows: Range<usize>) -> Tensor<1> {
        let tokens = self.target.dims()[1] / self.windows;
        let target = self.target.clone().narrow(1, windows.start * tokens, windows.len() * tokens);
        let part = self.text.windows(windows);
        loss(fuse, group.forward(&part), Tensor::from_inner(target))
    }
}

/// How far `found` is from `target`, both `[1, tokens, dim]`: the mean square over all numbers, and the divergence of the softmax over
/// the channels, from that of the target, as a mean over the tokens. The published code has the softmax over the sequences of a batch.
fn loss(fuse: &Fuse, found: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    let mut sum = Tensor::zeros([1], &found.device());
    if fuse.mse > 0.0 {
        sum = sum + (found.clone() - target.clone()).square().mean() * fuse.mse;
    }
    if fuse.kl > 0.0 {
        let tokens = found.dims()[1] as f64;
        let difference = log_softmax(target.clone(), 2) - log_softmax(found, 2);
        sum = sum + (softmax(target, 2) * difference).sum() * (fuse.kl / tokens);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_loss_is_its_definition() {
        let device = Device::flex();
        let (found, target) = ([[1.0f32, -2.0, 0.5], [0.0, 3.0, 1.0]], [[0.5f32, -1.0, 0.0], [2.0, 1.0, 1.5]]);
        let softmax = |row: [f32; 3]| {
            let of = row.map(|value| f64::from(value).exp());
            of.map(|value| value / of.iter().sum::<f64>())
        };
        let (mut square, mut divergence) = (0.0, 0.0);
        for (found, target) in found.into_iter().zip(target) {
            square += found.iter().zip(target).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 6.0;
            let pairs = softmax(target).into_iter().zip(softmax(found));
            divergence += pairs.map(|(p, q)| p * (p / q).ln()).sum::<f64>() / 2.0;
        }
        for (mse, kl) in [(1.0, 0.1), (0.0, 1.0), (2.0, 0.0)] {
            let fuse = Fuse { mse, kl, ..Fuse::default() };
            let found = loss(&fuse, Tensor::from_floats([found], &device), Tensor::from_floats([target], &device));
            let found = f64::from(found.into_scalar::<f32>());
            assert!((found - (mse * square + kl * divergence)).abs() < 1e-6, "{found}");
        }
    }
}

//! AdamW as one fused pass over each parameter and its moments. Loshchilov and Hutter 2019, arXiv:1711.05101.

use burn::optim::{AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

/// The settings of AdamW; the learning rate comes with every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The share of the first moment that stays.
    pub beta_1: f64,
    /// The share of the second moment that stays.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The share of the weights that a learning rate of 1 takes off in a step.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// As PyTorch's.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

impl Optimizer for AdamW {
    /// That of Burn's own AdamW, so either can go on where the other stopped.
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (step, moments) = match state {
            Some(AdamWState { momentum }) => (momentum.time + 1, [momentum.moment_1, momentum.moment_2]),
            None => (1, [tensor.zeros_like(), tensor.zeros_like()]),
        };
        let Self { beta_1, beta_2, epsilon, weight_decay } = *self;
        let settings =
            headwise_ops::AdamW { learning_rate, beta_1, beta_2, epsilon, weight_decay, gradient_scale: 1.0 };
        let (tensor, [moment_1, moment_2]) = headwise_ops::adamw(&settings, step as u64, tensor, gradient, moments);
        let momentum = AdaptiveMomentumState { time: step, moment_1, moment_2, max_moment_2: None };
        (tensor, Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamWState { momentum: state.momentum.to_device(device) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};

    #[derive(Module, Debug)]
    struct Weights {
        weight: Param<Tensor<2>>,
    }

    /// Minimises `(w² - 1)²` for some steps; saves and restores the optimiser in between.
    fn run(optimiser: impl Fn() -> ModuleOptimizer) -> Vec<f32> {
        let device = Device::flex().autodiff();
        let mut model = Weights { weight: Param::from_tensor(Tensor::from_floats([[0.5, -2.0], [3.0, 0.1]], &device)) };
        let mut current = optimiser();
        for step in 0..10 {
            let loss = (model.weight.val().square() - 1.0).square().sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = current.step(0.05, model, gradients);
            if step == 5 {
                current = optimiser().from_bytes(current.into_bytes().unwrap()).unwrap();
            }
        }
        model.weight.val().into_data().try_into_vec().unwrap()
    }

    #[test]
    fn steps_are_those_of_the_composed_optimiser_and_survive_saving() {
        let config = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2);
        let expected = run(|| config.init());
        let found = run(|| AdamW::default().into());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
    }
}

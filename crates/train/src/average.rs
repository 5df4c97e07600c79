//! An exponential moving average of the weights, which is often better than the last ones.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use headwise_ops::host::Host;

/// The average after a step: `decay · average + (1 − decay) · model`, with less decay in the first steps, `(1 + t) / (10 + t)`.
pub fn average<M: Module>(average: M, model: &M, decay: f64, step: u64) -> M {
    let early = (1.0 + step as f64) / (10.0 + step as f64);
    let mut weights = Weights::default();
    model.visit(&mut weights);
    average.map(&mut Mixing { weights, decay: decay.min(early) as f32 })
}

/// The weights of a model by their parameters.
#[derive(Default)]
struct Weights(HashMap<ParamId, Host>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id, Host::new(param.val()));
    }
}

struct Mixing {
    weights: Weights,
    decay: f32,
}

impl ModuleMapper for Mixing {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, old, mapper) = param.consume();
        let Some(new) = self.weights.0.get(&id) else { return Param::from_mapped_value(id, old, mapper) };
        let (shape, device) = (old.dims(), old.device());
        let mix = |(&old, &new): (&f32, &f32)| old + (1.0 - self.decay) * (new - old);
        let mixed = Host::new(old).as_slice().iter().zip(new.as_slice()).map(mix).collect();
        Param::from_mapped_value(id, headwise_ops::host::tensor(mixed, shape, &device), mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct One {
        weight: Param<Tensor<1>>,
    }

    #[test]
    fn equals_the_closed_form() {
        let device = Device::flex();
        let start = One { weight: Param::from_tensor(Tensor::from_floats([1.0], &device)) };
        let mut found = start.clone();
        let (mut expected, decay) = (1.0f64, 0.5);
        for step in 0..20 {
            let value = f64::from(step as u32);
            let model =
                One { weight: Param::initialized(start.weight.id, Tensor::from_floats([value as f32], &device)) };
            found = average(found, &model, decay, step);
            let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64));
            expected = decay * expected + (1.0 - decay) * value;
        }
        let found: f32 = found.weight.val().into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-4, "{found}, not {expected}");
    }
}

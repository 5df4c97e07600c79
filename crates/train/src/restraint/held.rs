//! The restraint of a run, with what it has to remember.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::optim::GradientsParams;
use headwise_models::decoder::Decoder;

use super::Restraint;
use super::mask::{change, each, kept, replace};
use crate::model::tracked;

/// The restraint of a run.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    restraint: Restraint,
    /// Where weights compete by movement: the score of each, by matrix.
    scores: HashMap<ParamId, Vec<f32>>,
}

/// Scores that do not belong to the model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("it has {found} bytes, the model needs {expected}")]
pub(crate) struct WrongScores {
    found: usize,
    expected: usize,
}

impl Held {
    pub fn new(restraint: Restraint, model: &Decoder) -> Self {
        let mut scores = HashMap::new();
        if let Restraint::Movement(_) = restraint {
            each(model, |id, weights| drop(scores.insert(id, vec![0.0; weights.len()])));
        }
        Self { restraint, scores }
    }

    /// `model` with its matrices as they are held in step `step` of `steps`.
    pub fn hold(&self, model: &Decoder, step: u64, steps: u64) -> Decoder {
        if let Restraint::QuantisationAware(method) = &self.restraint {
            let mut held = model.clone();
            method.rounding().round(&mut held);
            return tracked(held);
        }
        let Some(zeros) = self.restraint.zeros(step, steps) else { return model.clone() };
        replace(model.clone(), |id, weights| {
            let kept = self.kept(id, weights, zeros);
            weights.iter_mut().zip(kept).filter(|(_, kept)| !kept).for_each(|(weight, _)| *weight = 0.0);
        })
    }

    fn kept(&self, id: ParamId, weights: &[f32], zeros: f64) -> Vec<bool> {
        match self.scores.get(&id) {
            Some(scores) => kept(scores.iter().copied(), zeros),
            None => kept(weights.iter().map(|weight| weight.abs()), zeros),
        }
    }

    /// What moves the free weights of `model` in a step, from the gradients of the held ones; scores move as well.
    pub fn free(&mut self, model: &Decoder, gradients: GradientsParams, step: u64, steps: u64) -> GradientsParams {
        let Some(zeros) = self.restraint.zeros(step, steps) else { return gradients };
        change(model, gradients, |id, weights, gradient| {
            let kept = self.kept(id, weights, zeros);
            if let Some(scores) = self.scores.get_mut(&id) {
                let moved = scores.iter_mut().zip(weights.iter().zip(&*gradient));
                moved.for_each(|(score, (weight, gradient))| *score -= weight * gradient);
            }
            gradient.iter_mut().zip(kept).filter(|(_, kept)| !kept).for_each(|(gradient, _)| *gradient = 0.0);
        })
    }

    /// The scores as bytes; none if there are none.
    pub fn to_bytes(&self, model: &Decoder) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        each(model, |id, _| bytes.extend(self.scores.get(&id).into_iter().flatten().flat_map(|v| v.to_le_bytes())));
        (!self.scores.is_empty()).then_some(bytes)
    }

    /// Takes the scores that [`to_bytes`](Self::to_bytes) gave.
    pub fn restore(&mut self, model: &Decoder, bytes: &[u8]) -> Result<(), WrongScores> {
        let expected = self.scores.values().map(|scores| scores.len() * size_of::<f32>()).sum();
        if bytes.len() != expected {
            return Err(WrongScores { found: bytes.len(), expected });
        }
        let mut values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut scores = HashMap::new();
        each(model, |id, weights| drop(scores.insert(id, values.by_ref().take(weights.len()).collect())));
        self.scores = scores;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_nn::named;

    use super::*;
    use crate::model::{Trainable, draw};
    use crate::objective::TokenView;

    const MODEL: &str = "vocabulary = 20\ndim = 32\ncontext = 32\nepsilon = 1e-5\ntied = true\nlayers = \
        [{ mixer = \"softmax(heads=2)\", channel = \"gated(hidden=32)\" }]";

    fn model() -> Decoder {
        draw(toml::from_str(MODEL).unwrap(), 1, &Device::flex().autodiff()).unwrap()
    }

    fn restraint(text: &str) -> Restraint {
        text.parse().unwrap()
    }

    /// The gradients of the sum of what the head reads.
    fn gradients(model: &Decoder) -> GradientsParams {
        let mut view = TokenView::default();
        view.push(&[3, 1, 4, 1, 5, 9, 2, 6]);
        let out = model.look(&view, &Device::flex().autodiff());
        GradientsParams::from_grads((out.hidden * out.classifier.narrow(0, 0, 8)).sum().backward(), model)
    }

    fn matrices(model: &Decoder) -> Vec<Vec<f32>> {
        let mut all = Vec::new();
        each(model, |_, weights| all.push(weights.to_vec()));
        all
    }

    fn of_gradients(model: &Decoder, gradients: &GradientsParams) -> Vec<Vec<f32>> {
        let mut all = Vec::new();
        each(model, |id, _| all.push(gradients.get::<2>(id).unwrap().into_data().try_into_vec().unwrap()));
        all
    }

    #[test]
    fn the_smallest_weights_of_every_matrix_are_zero_and_stand_still() {
        let model = model();
        let mut held = Held::new(restraint("gradual_magnitude(share=0.75, end=1)"), &model);
        let (before, after) = (matrices(&model), matrices(&held.hold(&model, 10, 10)));
        assert_eq!(before.len(), 7);
        for (before, after) in before.iter().zip(&after) {
            let zeros: Vec<usize> = (0..after.len()).filter(|&at| after[at] == 0.0).collect();
            assert_eq!(zeros.len(), after.len() * 3 / 4);
            let most = zeros.iter().fold(0.0f32, |most, &at| most.max(before[at].abs()));
            assert!(
                (0..after.len()).all(|at| after[at] == 0.0 || (after[at] == before[at] && after[at].abs() >= most))
            );
        }
        let used = held.hold(&model, 10, 10);
        let gradients = of_gradients(&model, &held.free(&model, gradients(&used), 10, 10));
        for (gradient, after) in gradients.iter().zip(&after) {
            assert!(gradient.iter().zip(after).all(|(gradient, weight)| *weight != 0.0 || *gradient == 0.0));
            assert!(gradient.iter().any(|gradient| *gradient != 0.0));
        }
        assert_eq!(matrices(&held.hold(&model, 0, 10)), before, "no zeros at the beginning");
    }

    #[test]
    fn scores_are_the_sum_of_movements_and_survive_saving() {
        let model = model();
        let mut held = Held::new(restraint("movement(share=0.5, end=1)"), &model);
        let mut expected: Vec<Vec<f32>> = matrices(&model).iter().map(|weights| vec![0.0; weights.len()]).collect();
        for step in [0, 5, 9] {
            let used = held.hold(&model, step, 10);
            let raw = of_gradients(&model, &gradients(&used));
            for ((expected, weights), gradient) in expected.iter_mut().zip(matrices(&model)).zip(raw) {
                expected.iter_mut().zip(weights.iter().zip(gradient)).for_each(|(score, (w, g))| *score -= w * g);
            }
            held.free(&model, gradients(&used), step, 10);
        }
        let bytes = held.to_bytes(&model).unwrap();
        let found: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(found, expected.concat());
        let zero = matrices(&held.hold(&model, 10, 10));
        for (scores, weights) in expected.iter().zip(&zero) {
            let most = (0..scores.len()).filter(|&at| weights[at] == 0.0).map(|at| scores[at]).fold(f32::MIN, f32::max);
            assert!((0..scores.len()).all(|at| weights[at] == 0.0 || scores[at] >= most));
            assert_eq!(weights.iter().filter(|weight| **weight == 0.0).count(), weights.len() / 2);
        }
        let mut again = Held::new(restraint("movement(share=0.5, end=1)"), &model);
        again.restore(&model, &bytes).unwrap();
        assert_eq!(matrices(&again.hold(&model, 10, 10)), zero);
        assert!(again.restore(&model, &bytes[4..]).unwrap_err().to_string().contains("the model needs"));
    }

    #[test]
    fn weights_on_a_grid_get_the_gradient_of_where_they_are_held() {
        let model = model();
        let mut held = Held::new(restraint("quantisation_aware(bits=4)"), &model);
        let used = held.hold(&model, 0, 10);
        assert_ne!(matrices(&used), matrices(&model));
        assert_eq!(matrices(&held.hold(&used, 0, 10)), matrices(&used), "a point of a grid stays where it is");
        let named = |model: &Decoder, name: &str| {
            named::read(model).into_iter().find(|weight| weight.name.contains(name)).map(|weight| weight.values)
        };
        assert_eq!(named(&used, "embedding"), named(&model, "embedding"));
        let found = of_gradients(&model, &held.free(&model, gradients(&used), 0, 10));
        assert_eq!(found, of_gradients(&used, &gradients(&used)));
    }
}

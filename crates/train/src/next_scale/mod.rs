//! Training a generator that predicts the next scale: first the autoencoder, then the transformer on its codes.
//!
//! The pictures are those of [`ColouredShapes`]. Tian et al. 2024 (VAR), arXiv:2404.02905.

mod codes;
mod pictures;
mod revive;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use headwise_models::next_scale::{Autoencoder, NextScale, NextScaleError, NextScaleSpec, NextScaleTransformer};
use headwise_ops::log_softmax;
use headwise_tasks::ColouredShapes;
use rand::RngExt;

use crate::draws::{Purpose, draws};
use crate::gradients;
use crate::model::draw_with;
use crate::optimiser::{AdamWSpec, OptimiserSpec};
use crate::schedule::{Cosine, Schedule};
use codes::Codes;
use pictures::Pictures;

/// Largest norm of all gradients of a step.
const CLIP: f64 = 1.0;
/// Share of the pictures that the transformer sees without their class, for guidance.
const WITHOUT_CLASS: f64 = 0.1;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct NextScaleTraining {
    /// The sizes of the generator, for the pictures of [`ColouredShapes`].
    pub spec: NextScaleSpec,
    /// Steps of the autoencoder.
    pub autoencoder_steps: u64,
    /// Steps of the transformer.
    pub steps: u64,
    /// Pictures of a step.
    pub pictures: usize,
    /// Pictures that are drawn once and for all steps.
    pub pool: u64,
    /// Largest learning rate of the autoencoder.
    pub autoencoder_rate: f64,
    /// Largest learning rate of the transformer.
    pub rate: f64,
    /// Seed of weights and pictures.
    pub seed: u64,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextScaleMoment {
    /// Steps done, of both parts.
    pub step: u64,
    /// All steps.
    pub steps: u64,
    /// Whether the transformer learns, not the autoencoder.
    pub transformer: bool,
    /// The loss of the last step.
    pub loss: f32,
}

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NextScaleTrainError {
    /// There is no such generator.
    #[error(transparent)]
    Spec(#[from] NextScaleError),
    /// The generator is not one of these pictures.
    #[error(
        "the pictures have {size} pixels on a side and {classes} classes, and the generator is for {found_size} and {found_classes}"
    )]
    Pictures {
        /// Pixels on a side.
        size: usize,
        /// Classes.
        classes: usize,
        /// Pixels that the generator draws.
        found_size: usize,
        /// Classes that it knows.
        found_classes: usize,
    },
    /// A number is zero.
    #[error("{0} is 0; it must be at least 1")]
    Zero(&'static str),
    /// The loss is no number any more.
    #[error("the loss of step {step} is {loss}: a smaller learning rate may help")]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        loss: f32,
    },
}

impl NextScaleTraining {
    /// A run of one or two minutes on two cores: a small generator with these scales.
    pub fn micro(scales: &[usize], seed: u64) -> Self {
        let spec = NextScaleSpec::micro(scales, ColouredShapes::CLASSES);
        // The fewer cells a picture has, the more a code has to say. With 1,600 steps for 4 × 4 cells, 98 of 100 pictures show their class
        // when they are decoded; with 400 it was 54, and no transformer could have drawn more.
        let autoencoder_steps = 6_400 / spec.side().max(1) as u64;
        Self { spec, autoencoder_steps, steps: 800, pictures: 32, pool: 2048, autoencoder_rate: 3e-3, rate: 2e-3, seed }
    }

    fn check(&self) -> Result<(), NextScaleTrainError> {
        self.spec.check()?;
        let (size, classes) = (ColouredShapes::SIZE, ColouredShapes::CLASSES);
        if (self.spec.size, self.spec.classes) != (size, classes) {
            let (found_size, found_classes) = (self.spec.size, self.spec.classes);
            return Err(NextScaleTrainError::Pictures { size, classes, found_size, found_classes });
        }
        let numbers = [("autoencoder_steps", self.autoencoder_steps), ("steps", self.steps), ("pool", self.pool)];
        let numbers = numbers.into_iter().chain([("pictures", self.pictures as u64)]);
        match numbers.into_iter().find(|&(_, number)| number == 0) {
            Some((name, _)) => Err(NextScaleTrainError::Zero(name)),
            None => Ok(()),
        }
    }

    /// Trains a generator; `said` is told of every step.
    ///
    /// # Errors
    /// If the run makes no sense or diverges.
    pub fn run(&self, said: &mut dyn FnMut(&NextScaleMoment)) -> Result<NextScale, NextScaleTrainError> {
        self.check()?;
        let pool = Pictures::draw(self.seed, self.pool);
        let autoencoder = self.autoencoder(&pool, said)?.valid();
        let codes = Codes::of(&autoencoder, &pool, self.pictures);
        let transformer = self.transformer(&pool, &codes, said)?.valid();
        Ok(NextScale::of(autoencoder, transformer, self.spec.clone()))
    }

    fn autoencoder(
        &self,
        pool: &Pictures,
        said: &mut dyn FnMut(&NextScaleMoment),
    ) -> Result<Autoencoder, NextScaleTrainError> {
        let device = Device::flex().autodiff();
        let random = || Ok::<_, NextScaleError>(Autoencoder::random(&self.spec, &device));
        let mut model = draw_with(self.seed, &device, random)?;
        let mut descent = Descent::new(&model, self.autoencoder_rate, self.autoencoder_steps);
        let mut usage = revive::Usage::new(self.spec.codes);
        for step in 0..self.autoencoder_steps {
            let mut random = draws(self.seed, Purpose::Order, step, 0);
            let chosen = self.chosen(pool.count(), &mut random);
            let (loss, quantised) = model.loss(pool.tensor(&chosen, &device));
            model = descent.step(model, &loss, step)?;
            usage.count(&quantised.tokens);
            model.quantiser =
                usage.revive(model.quantiser, &quantised.cells, step, self.autoencoder_steps, &mut random);
            said(&self.moment(step + 1, false, descent.last));
        }
        Ok(model)
    }

    fn transformer(
        &self,
        pool: &Pictures,
        codes: &Codes,
        said: &mut dyn FnMut(&NextScaleMoment),
    ) -> Result<NextScaleTransformer, NextScaleTrainError> {
        let device = Device::flex().autodiff();
        let random = || Ok::<_, NextScaleError>(NextScaleTransformer::random(&self.spec, &device));
        let mut model = draw_with(self.seed ^ 1, &device, random)?;
        let mut descent = Descent::new(&model, self.rate, self.steps);
        for step in 0..self.steps {
            let mut random = draws(self.seed, Purpose::Document, step, 0);
            let chosen = self.chosen(pool.count(), &mut random);
            let none = self.spec.classes;
            let class = |&picture: &usize| if random.random_bool(WITHOUT_CLASS) { none } else { pool.class(picture) };
            let classes: Vec<usize> = chosen.iter().map(class).collect();
            let (features, tokens) = codes.batch(&chosen, &device);
            let scores = model.forward(&classes, features);
            let loss = cross_entropy(scores, tokens);
            model = descent.step(model, &loss, self.autoencoder_steps + step)?;
            said(&self.moment(self.autoencoder_steps + step + 1, true, descent.last));
        }
        Ok(model)
    }

    /// Pictures of a step.
    fn chosen(&self, count: usize, random: &mut impl RngExt) -> Vec<usize> {
        (0..self.pictures).map(|_| random.random_range(0..count)).collect()
    }

    fn moment(&self, step: u64, transformer: bool, loss: f32) -> NextScaleMoment {
        NextScaleMoment { step, steps: self.autoencoder_steps + self.steps, transformer, loss }
    }
}

/// The mean over all tokens of the negative log-likelihood of `tokens` under `scores` `[pictures, tokens, codes]`.
fn cross_entropy(scores: Tensor<3>, tokens: Vec<u32>) -> Tensor<1> {
    let [pictures, count, codes] = scores.dims();
    let tokens: Vec<i64> = tokens.into_iter().map(i64::from).collect();
    let device = scores.device();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [pictures * count, 1]), &device);
    -log_softmax(scores.reshape([pictures * count, codes])).gather(1, tokens).mean()
}

/// AdamW with a norm that gradients do not exceed, over half a cosine.
struct Descent {
    optimiser: burn::optim::ModuleOptimizer,
    rate: f64,
    schedule: Schedule,
    steps: u64,
    taken: u64,
    last: f32,
}

impl Descent {
    fn new<M: Module>(model: &M, rate: f64, steps: u64) -> Self {
        let spec = OptimiserSpec::from(AdamWSpec { learning_rate: rate, weight_decay: 0.0, ..AdamWSpec::default() });
        let schedule = Cosine { warmup: steps / 20, floor: 0.02 }.into();
        Self { optimiser: spec.build(model), rate, schedule, steps, taken: 0, last: f32::NAN }
    }

    fn step<M: Module>(&mut self, model: M, loss: &Tensor<1>, number: u64) -> Result<M, NextScaleTrainError> {
        self.last = loss.clone().into_scalar::<f32>();
        if !self.last.is_finite() {
            return Err(NextScaleTrainError::NotFinite { step: number + 1, loss: self.last });
        }
        let found = GradientsParams::from_grads(loss.backward(), &model);
        let norm = gradients::global_norm(&model, &found);
        let found = gradients::clip(&model, found, norm, CLIP);
        let rate = self.rate * self.schedule.factor(self.taken, self.steps);
        self.taken += 1;
        Ok(self.optimiser.step(rate, model, found))
    }
}

#[cfg(test)]
mod tests {
    use headwise_models::next_scale::{Choice, Drawing, KeepEverything};

    use super::*;

    fn short(seed: u64) -> NextScaleTraining {
        let micro = NextScaleTraining::micro(&[1, 2, 4], seed);
        let spec = NextScaleSpec { dim: 16, layers: 1, heads: 2, width: 8, ..micro.spec.clone() };
        NextScaleTraining { spec, autoencoder_steps: 12, steps: 12, pictures: 8, pool: 16, ..micro }
    }

    #[test]
    fn losses_fall_and_a_seed_gives_the_same_model() {
        let mut losses = Vec::new();
        let model = short(1).run(&mut |moment| losses.push((moment.transformer, moment.loss))).unwrap();
        let of = |transformer: bool| losses.iter().filter(move |loss| loss.0 == transformer).map(|loss| loss.1);
        for transformer in [false, true] {
            let losses: Vec<f32> = of(transformer).collect();
            assert_eq!(losses.len(), 12);
            assert!(losses[11] < losses[0], "{losses:?}");
        }
        let drawing = Drawing { classes: vec![3], guidance: 1.0, choice: Choice::Greedy, seed: 0 };
        let drawn = |model: &NextScale| model.draw(&drawing, &mut KeepEverything).unwrap().scores;
        assert_eq!(drawn(&model), drawn(&short(1).run(&mut |_| {}).unwrap()));
        assert_ne!(drawn(&model), drawn(&short(2).run(&mut |_| {}).unwrap()));
    }

    #[test]
    fn runs_that_make_no_sense_are_refused() {
        let refused = |training: NextScaleTraining| training.run(&mut |_| {}).unwrap_err().to_string();
        assert!(refused(NextScaleTraining { steps: 0, ..short(0) }).contains("steps is 0"));
        let spec = NextScaleSpec { classes: 3, ..short(0).spec };
        assert!(refused(NextScaleTraining { spec, ..short(0) }).contains("24 classes"));
        let spec = NextScaleSpec { scales: vec![4, 1], ..short(0).spec };
        assert!(refused(NextScaleTraining { spec, ..short(0) }).contains("[4, 1]"));
    }
}

//! A run's teacher, and what it says of a step.

use std::convert::Infallible;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Gradients, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec};

use super::hidden::Projection;
use super::soft::divergence;
use super::{DistilSpec, Imitation};
use crate::gradients;
use crate::model::{draw_with, open};
use crate::objective::{LossReport, Objective, TokenObjective, TokenOut, TokenTarget, TokenView};
use crate::optimiser::AdamW;
use crate::world::World;

/// A run's teacher.
pub(crate) struct Distillation {
    spec: DistilSpec,
    teacher: Decoder,
    projection: Option<Projection>,
    optimiser: ModuleOptimizer,
    /// The gradients of the projection in this step so far.
    gathered: Option<GradientsParams>,
}

/// The projection is small and forgets the beginning soon.
const ADAM: AdamW = AdamW { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.0 };

impl Distillation {
    /// Opens the teacher of a `student`, which learns on `device`; else what is wrong.
    pub fn open(spec: &DistilSpec, student: &DecoderSpec, seed: u64, device: &Device) -> Result<Self, String> {
        let teacher = open(&spec.teacher)?;
        let DecoderSpec { family, vocabulary, context, dim, .. } = teacher.spec().clone();
        if vocabulary != student.vocabulary {
            return Err(format!(
                "{} has a vocabulary of {vocabulary}, the student one of {}: both must have the same tokens",
                spec.teacher, student.vocabulary
            ));
        }
        if family != student.family {
            return Err(format!(
                "{} and the student are not of one family: {family:?}, {:?}",
                spec.teacher, student.family
            ));
        }
        if context < student.context {
            let wanted = student.context;
            return Err(format!("{} has a context of {context}, the student one of {wanted}", spec.teacher));
        }
        let imitates_states = spec.imitate.iter().any(|method| matches!(method, Imitation::HiddenStates(_)));
        let drawn = || draw_with(seed, device, || Ok::<_, Infallible>(Projection::random(student.dim, dim, device)));
        let projection = imitates_states.then(|| drawn().unwrap_or_else(|never| match never {}));
        Ok(Self { spec: spec.clone(), teacher, projection, optimiser: ADAM.into(), gathered: None })
    }

    /// The sum of all losses of `student` on a view.
    pub fn loss(
        &self,
        student: &Decoder,
        objective: &TokenObjective,
        view: &TokenView,
        target: &TokenTarget,
        device: &Device,
    ) -> LossReport {
        let states = student.states(&view.ids, &view.positions, &view.segments, device);
        let last = states.last().expect("a model has layers").clone();
        let out = TokenOut { hidden: student.read_out(last), classifier: student.classifier(), balance: None };
        let wanted = self.teacher.states(&view.ids, &view.positions, &view.segments, &device.clone().inner());
        let mut sum = Tensor::zeros([1], device);
        for imitation in &self.spec.imitate {
            let more = match (imitation, &self.projection) {
                (Imitation::HiddenStates(method), Some(projection)) => {
                    projection.distance(&states, &wanted, target) * method.weight
                }
                (Imitation::SoftTargets(method), _) => {
                    let last = wanted.last().expect("a model has layers").clone().unsqueeze::<3>();
                    let scores = |rows: &[usize]| self.teacher.head(last.clone(), rows);
                    divergence(method, &out, target, scores) * method.weight
                }
                (Imitation::HiddenStates(_), None) => continue,
            };
            sum = sum + more;
        }
        let LossReport { sum: own, count } = objective.loss(out, target);
        LossReport { sum: sum + own * self.spec.targets, count }
    }

    /// Takes the gradients of what is learned beside the student.
    pub fn gather(&mut self, gradients: &mut Gradients) {
        if let Some(projection) = &self.projection {
            let more = GradientsParams::from_module(gradients, projection);
            self.gathered = Some(gradients::accumulate(projection, self.gathered.take(), more));
        }
    }

    /// Moves what is learned beside the student.
    pub fn step(&mut self, world: World, learning_rate: f64) {
        if let (Some(projection), Some(found)) = (self.projection.take(), self.gathered.take()) {
            let found = gradients::sum_over(world, &projection, found);
            self.projection = Some(self.optimiser.step(learning_rate, projection, found));
        }
    }

    /// What is learned beside the student, and the state of its optimiser, as the files of a checkpoint; none if there is nothing.
    pub fn parts(&self) -> Result<Option<[Vec<u8>; 2]>, String> {
        let Some(projection) = &self.projection else { return Ok(None) };
        let weights = projection.clone().into_record().into_bytes().map_err(|error| error.to_string())?;
        let state = self.optimiser.into_bytes().map_err(|error| error.to_string())?;
        Ok(Some([weights.to_vec(), state.to_vec()]))
    }

    /// Takes what [`parts`](Self::parts) gave.
    pub fn restore(&mut self, [weights, state]: [Vec<u8>; 2]) -> Result<(), String> {
        let Some(projection) = self.projection.take() else { return Ok(()) };
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(weights)).map_err(|error| error.to_string())?;
        self.projection = Some(projection.try_load_record(record).map_err(|error| error.to_string())?);
        let optimiser = ModuleOptimizer::from(ADAM).from_bytes(Bytes::from_bytes_vec(state));
        self.optimiser = optimiser.map_err(|error| error.to_string())?;
        Ok(())
    }
}

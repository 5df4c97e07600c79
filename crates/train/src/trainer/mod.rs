//! The loop: data, forward, backward, step; now and then an evaluation and a checkpoint.

mod error;
mod loss;
mod parts;
mod report;
mod saving;

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use headwise_models::decoder::{Decoder, DecoderSpec};

use crate::average::average;
use crate::checkpoint::State;
use crate::data::{Codec, Mixture, Slot, SourceSpec};
use crate::devices::Devices;
use crate::distil::Distillation;
use crate::draws::{Purpose, draws};
use crate::gradients;
use crate::model::draw;
use crate::objective::{Objective, ObjectiveSpec, TokenObjective};
use crate::restraint::Held;
use crate::spec::{Stage, TrainSpec};
use crate::supernet::{Parts, Supernet};
use crate::world::World;

pub use error::TrainError;
pub use report::{End, Evaluation, Observer, StepReport};

/// A training run.
pub struct Trainer {
    spec: TrainSpec,
    hash: String,
    codec: Codec,
    data: Mixture,
    /// What a stage learns from, where that is not `data`.
    staged: Vec<Option<Mixture>>,
    held_out: Option<Mixture>,
    devices: Devices,
    model: Option<Decoder>,
    average: Option<Decoder>,
    held: Option<Held>,
    distillation: Option<Distillation>,
    supernet: Option<Parts>,
    optimiser: ModuleOptimizer,
    objective: TokenObjective,
    state: State,
    folder: PathBuf,
    world: World,
}

impl Trainer {
    /// A run at its beginning; checkpoints go into `folder`.
    pub fn new(spec: TrainSpec, folder: &Path) -> Result<Self, TrainError> {
        Self::among(World::ALONE, Devices::cpu(), spec, folder)
    }

    /// The same, shared by the processes of `world`, which have the same `folder`, and by the `devices` of each of them.
    pub fn among(world: World, devices: Devices, spec: TrainSpec, folder: &Path) -> Result<Self, TrainError> {
        parts::check_shares(world, &devices, &spec)?;
        let codec = world.leader_first(|| Codec::of(&spec.data.tokenizer, &spec.data.sources, folder))?;
        let data = Mixture::open(&spec.data.sources, &codec)?;
        let of_stage = |stage: &Stage| stage.sources.as_ref().map(|sources| Mixture::open(sources, &codec)).transpose();
        let staged = spec.stages.iter().map(of_stage).collect::<Result<_, _>>()?;
        let held_out = spec.evaluation.as_ref().map(|evaluation| Mixture::open(&evaluation.sources, &codec));
        let device = devices.first().clone();
        let texts = spec.sources().filter_map(SourceSpec::vocabulary).map(|count| count as usize);
        let texts = texts.max().unwrap_or(0).max(codec.vocabulary());
        let objective = spec.objective.resolved(texts, codec.mask());
        objective.check_family(spec.model.family).map_err(TrainError::Objective)?;
        let described = spec.model.decoder(texts.max(objective.vocabulary()));
        objective.check_vocabulary(described.vocabulary).map_err(TrainError::Objective)?;
        let described = DecoderSpec { sentinels: objective.sentinels(), ..described };
        let model = draw(described, spec.seed, &device)?;
        let model = spec.model.start.apply(model, &device).map_err(TrainError::Start)?;
        if let Some(restraint) = &spec.restraint {
            restraint.check_model(model.spec()).map_err(TrainError::Restraint)?;
        }
        let teacher = spec.distil.as_ref().map(|distil| Distillation::open(distil, model.spec(), spec.seed, &device));
        let parts = |supernet: &Supernet| Parts::new(supernet.clone(), model.spec(), spec.seed);
        let supernet = spec.supernet.as_ref().map(parts).transpose().map_err(TrainError::Supernet)?;
        let optimiser = spec.optimiser.build(&model);
        let hash = spec.hash();
        Ok(Self {
            hash: hash.clone(),
            codec,
            data,
            staged,
            held_out: held_out.transpose()?,
            average: spec.average.map(|_| model.clone().no_grad()),
            distillation: teacher.transpose().map_err(TrainError::Teacher)?,
            supernet,
            held: spec.restraint.clone().map(|restraint| Held::new(restraint, &model)),
            model: Some(model),
            optimiser,
            objective: objective.build(spec.loss.clone()),
            state: State { spec: hash, ..State::default() },
            folder: folder.join("checkpoints"),
            devices,
            spec,
            world,
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Decoder {
        self.model.as_ref().expect("the model is away only within a step")
    }

    /// The weights to be used after the run: their average if one is kept, held to what the run holds them to.
    pub fn result(&self) -> Decoder {
        self.held(self.average.as_ref().unwrap_or_else(|| self.model()))
    }

    /// Where the run is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Runs to the end, or until evaluations become no better, or until the observer stops it; the run is saved in all cases.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<End, TrainError> {
        let mut saved = self.state.step;
        while self.state.step < self.spec.steps() && !self.is_out_of_patience() && !self.world.any(observer.stop()) {
            let report = self.step()?;
            observer.step(&report);
            let evaluate = self.spec.evaluation.as_ref().is_some_and(|evaluation| self.is_due(evaluation.every));
            if evaluate && let Some(evaluation) = self.evaluate()? {
                observer.evaluation(&evaluation);
                self.note(&evaluation)?;
            }
            if self.is_due(self.spec.checkpoints.every) {
                observer.checkpoint(&self.save()?);
                saved = self.state.step;
            }
        }
        if saved != self.state.step {
            observer.checkpoint(&self.save()?);
        }
        if self.is_out_of_patience() {
            self.go_back()?;
            return Ok(End::Patience);
        }
        Ok(if self.state.step < self.spec.steps() { End::Stopped } else { End::Done })
    }

    /// Whether what comes every so many steps, and at the end, comes now.
    fn is_due(&self, every: u64) -> bool {
        self.state.step.is_multiple_of(every) || self.state.step == self.spec.steps()
    }

    /// After how many evaluations that are no better the run ends.
    fn patience(&self) -> Option<u64> {
        self.spec.evaluation.as_ref().and_then(|evaluation| evaluation.patience)
    }

    fn is_out_of_patience(&self) -> bool {
        self.patience().is_some_and(|patience| self.state.waiting >= patience)
    }

    /// One step of the optimiser.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let started = Instant::now();
        let step = self.state.step;
        let (index, stage, before) = self.spec.stage(step).expect("a step of the run");
        let (parts, of_device) = (self.parts(index, stage, before)?, stage.parts);
        // Losses are means over the whole step, however it is cut into parts.
        let [count] = self.world.total([parts.iter().map(|(_, target)| target.count()).sum()]);
        if count == 0.0 {
            return Err(TrainError::NothingToPredict { step: step + 1 });
        }
        let (mut losses, mut tokens, mut of_devices) = (Vec::new(), 0.0, Vec::new());
        let held = self.held(self.model());
        for ((device, held), parts) in self.devices.copies(&held).iter().zip(parts.chunks(of_device)) {
            let mut sum = None;
            for (view, target) in parts {
                let share = self.loss(held, view, target, device) / count;
                // Read later: to read is to wait for the device.
                losses.push(share.clone().inner());
                tokens += view.ids.len() as f64;
                let mut gradients = share.backward();
                self.distillation.iter_mut().for_each(|teacher| teacher.gather(&mut gradients));
                let more = GradientsParams::from_grads(gradients, held);
                sum = Some(gradients::accumulate(self.model(), sum, more));
            }
            of_devices.push(sum.expect("a step has a part for each device"));
        }
        let found = self.devices.sum(self.model(), of_devices);
        let mut found = gradients::sum_over(self.world, self.model(), found);
        let loss: f64 = losses.into_iter().map(|loss| f64::from(loss.into_scalar::<f32>())).sum();
        let [loss, tokens] = self.world.total([loss, tokens]);
        let tokens = tokens as u64;
        let mut norm = gradients::global_norm(self.model(), &found);
        if !(loss.is_finite() && norm.is_finite()) {
            let parameter = gradients::first_not_finite(self.model(), &found).unwrap_or_else(|| "none".into());
            return Err(TrainError::NotFinite { step: step + 1, loss, norm, parameter });
        }
        if let Some(mut held) = self.held.take() {
            found = held.free(self.model(), found, step, self.spec.steps());
            norm = gradients::global_norm(self.model(), &found);
            self.held = Some(held);
        }
        if let Some(most) = self.spec.clip {
            found = gradients::clip(self.model(), found, norm, most);
        }
        let learning_rate = self.spec.optimiser.learning_rate() * self.spec.schedule.factor(step, self.spec.steps());
        self.distillation.iter_mut().for_each(|teacher| teacher.step(self.world, learning_rate));
        let model = self.model.take().expect("the model is away only within a step");
        self.model = Some(self.optimiser.step(learning_rate, model, found));
        if let (Some(decay), Some(last)) = (self.spec.average, self.average.take()) {
            self.average = Some(average(last, self.model(), decay, step));
        }
        self.state.step += 1;
        self.state.tokens += tokens;
        Ok(StepReport { step: self.state.step, loss, norm, learning_rate, tokens, time: started.elapsed() })
    }

    /// How well the result predicts the texts held out; none if there are none.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let (Some(data), Some(spec)) = (&self.held_out, &self.spec.evaluation) else { return Ok(None) };
        let longest = self.spec.stages.iter().map(|stage| stage.length).max().unwrap_or(1);
        let length = spec.length.unwrap_or(longest);
        let model = self.result().valid();
        let device = self.devices.first().clone().inner();
        let (mut nats, mut count, mut right, mut bytes) = (0.0, 0.0, 0.0, 0.0);
        for index in (self.world.rank() as u64..spec.sequences).step_by(self.world.size()) {
            let slot = Slot { seed: self.spec.seed ^ Purpose::Evaluation as u64, stage: 0, step: 0, index, length };
            let documents = data.documents(&slot, index, &self.codec)?;
            let (view, target) = self.objective.corrupt(&documents, &mut draws(0, Purpose::Evaluation, 0, index));
            self.check(&view, &target)?;
            if target.rows.is_empty() {
                continue;
            }
            let scores = crate::scores::measure(&model, &view, &target, &device);
            nats += scores.nats;
            right += scores.right;
            count += target.count();
            let of = |(&id, &weight): (&u32, &f32)| f64::from(weight) * self.codec.bytes(id) as f64;
            bytes += target.ids.iter().zip(&target.weights).map(of).sum::<f64>();
        }
        let [nats, count, right, bytes] = self.world.total([nats, count, right, bytes]);
        if count == 0.0 {
            return Err(TrainError::NothingHeldOut);
        }
        let loss = nats / count;
        if !loss.is_finite() {
            return Err(TrainError::HeldOut { step: self.state.step, loss });
        }
        let predicts_text = data.is_text() && matches!(self.spec.objective, ObjectiveSpec::NextTokenSpec(_));
        let bits_per_byte = (predicts_text && bytes > 0.0).then(|| nats / std::f64::consts::LN_2 / bytes);
        Ok(Some(Evaluation { step: self.state.step, loss, accuracy: right / count, bits_per_byte }))
    }
}

//! The loop: data, forward, backward, step; now and then an evaluation and a checkpoint.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device};
use headwise_models::decoder::{self, Decoder};

use crate::average::average;
use crate::checkpoint::{self, CheckpointError, State};
use crate::data::{Codec, DataError, Mixture, Slot};
use crate::draws::{Purpose, draws};
use crate::gradients;
use crate::model::{Trainable, settle};
use crate::objective::{NextToken, Objective, TokenTarget, TokenView};
use crate::spec::{Stage, TrainSpec};

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] decoder::SpecError),
    /// There is nothing to learn from.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run cannot be saved, or go on.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A token beyond the vocabulary.
    #[error("the data has token {id}, the model a vocabulary of {vocabulary}: raise `model.vocabulary`")]
    Vocabulary {
        /// The token.
        id: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// A step without anything to predict.
    #[error("step {step} has nothing to predict: the sequences are too short, or no token has a weight")]
    NothingToPredict {
        /// The step.
        step: u64,
    },
    /// The loss or a gradient is no finite number.
    #[error(
        "step {step}: the loss is {loss} and the norm of the gradients {norm}; the first parameter with a number that is not finite is \
         {parameter}. The weights before this step are kept; lower the learning rate, or set `clip`"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// The norm of all gradients.
        norm: f64,
        /// The path of a parameter.
        parameter: String,
    },
    /// Burn cannot write or read weights.
    #[error("cannot {what}: {reason}")]
    Record {
        /// What failed.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The mean loss, in nats.
    pub loss: f64,
    /// The norm of all gradients before clipping.
    pub norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens shown.
    pub tokens: u64,
    /// How long it took.
    pub time: Duration,
}

/// How well a model predicts texts that it does not learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// The mean loss, in nats.
    pub loss: f64,
    /// Share of the targets whose token was the likeliest.
    pub accuracy: f64,
    /// Bits that a byte of text takes, if the tokens stand for bytes.
    pub bits_per_byte: Option<f64>,
}

/// Who is told what a run does.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, report: &StepReport);
    /// An evaluation is done.
    fn evaluation(&mut self, evaluation: &Evaluation);
    /// A checkpoint is written.
    fn checkpoint(&mut self, path: &Path);
    /// Whether the run should be saved and left.
    fn stop(&self) -> bool;
}

/// A training run.
pub struct Trainer {
    spec: TrainSpec,
    hash: String,
    codec: Codec,
    data: Mixture,
    held_out: Option<Mixture>,
    device: Device,
    model: Option<Decoder>,
    average: Option<Decoder>,
    optimiser: ModuleOptimizer,
    objective: NextToken,
    state: State,
    folder: PathBuf,
}

impl Trainer {
    /// A run at its beginning; checkpoints go into `folder`.
    pub fn new(spec: TrainSpec, folder: &Path) -> Result<Self, TrainError> {
        let codec = Codec::of(&spec.data.tokenizer, &spec.data.sources, folder)?;
        let data = Mixture::open(&spec.data.sources, &codec)?;
        let held_out = spec.evaluation.as_ref().map(|evaluation| Mixture::open(&evaluation.sources, &codec));
        let device = Device::flex().autodiff();
        device.seed(spec.seed);
        let model = Decoder::random(spec.model.decoder(codec.vocabulary()), &device)?;
        settle(&model);
        let optimiser = spec.optimiser.build(&model);
        let hash = checkpoint::hash(toml::to_string(&spec).expect("a spec is plain data").as_bytes());
        Ok(Self {
            hash: hash.clone(),
            codec,
            data,
            held_out: held_out.transpose()?,
            average: spec.average.map(|_| model.clone().no_grad()),
            model: Some(model),
            optimiser,
            objective: NextToken::default(),
            state: State { spec: hash, ..State::default() },
            folder: folder.join("checkpoints"),
            device,
            spec,
        })
    }

    /// Goes on from the last checkpoint in the run's folder, if there is one; tells whether.
    pub fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(path) = checkpoint::list(&self.folder)?.pop() else { return Ok(false) };
        let (state, mut parts) = checkpoint::load(&path)?;
        if state.spec != self.hash {
            return Err(CheckpointError::OtherSpec { path }.into());
        }
        let damaged = |name: &str, reason: String| CheckpointError::Damaged { path: path.join(name), reason };
        let mut take = |name: &str| parts.remove(name).ok_or_else(|| damaged(name, "it is missing".into()));
        let load = |model: Decoder, name: &str, bytes: Vec<u8>| {
            let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes));
            let loaded = record
                .map_err(|error| error.to_string())
                .and_then(|record| model.try_load_record(record).map_err(|error| error.to_string()));
            loaded.map_err(|reason| damaged(name, reason))
        };
        let model = self.model.take().expect("the model is away only within a step");
        self.model = Some(load(model, MODEL, take(MODEL)?)?);
        if let Some(average) = self.average.take() {
            self.average = Some(load(average, AVERAGE, take(AVERAGE)?)?);
        }
        let optimiser = self.spec.optimiser.build(self.model());
        let bytes = Bytes::from_bytes_vec(take(OPTIMISER)?);
        self.optimiser = optimiser.from_bytes(bytes).map_err(|error| damaged(OPTIMISER, error.to_string()))?;
        self.state = state;
        Ok(true)
    }

    /// The model as it is now.
    pub fn model(&self) -> &Decoder {
        self.model.as_ref().expect("the model is away only within a step")
    }

    /// The weights to be used after the run: their average if one is kept.
    pub fn result(&self) -> &Decoder {
        self.average.as_ref().unwrap_or_else(|| self.model())
    }

    /// Where the run is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The tokenizer of the run.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Runs to the end, or until the observer stops it; the run is saved in both cases.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let mut saved = self.state.step;
        let mut waiting = 0;
        while self.state.step < self.spec.steps() && !observer.stop() {
            let report = self.step()?;
            observer.step(&report);
            let due = |every: u64| self.state.step.is_multiple_of(every) || self.state.step == self.spec.steps();
            let (evaluate, save) = (
                self.spec.evaluation.as_ref().is_some_and(|evaluation| due(evaluation.every)),
                due(self.spec.checkpoints.every),
            );
            if evaluate && let Some(evaluation) = self.evaluate()? {
                observer.evaluation(&evaluation);
                let better = self.state.best.is_none_or(|(loss, _)| evaluation.loss < loss);
                waiting = if better { 0 } else { waiting + 1 };
                if better {
                    self.state.best = Some((evaluation.loss, self.state.step));
                }
                let patience = self.spec.evaluation.as_ref().and_then(|evaluation| evaluation.patience);
                if patience.is_some_and(|patience| waiting >= patience) {
                    break;
                }
            }
            if save {
                observer.checkpoint(&self.save()?);
                saved = self.state.step;
            }
        }
        if saved != self.state.step {
            observer.checkpoint(&self.save()?);
        }
        Ok(())
    }

    /// One step of the optimiser.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let started = Instant::now();
        let step = self.state.step;
        let (index, stage, before) = self.spec.stage(step).expect("a step of the run");
        let parts = self.parts(index as u64, stage, before)?;
        // Losses are means over the whole step, however it is cut into parts.
        let count: f64 = parts.iter().map(|(_, target)| target.count()).sum();
        if count == 0.0 {
            return Err(TrainError::NothingToPredict { step });
        }
        let (mut loss, mut tokens, mut sum) = (0.0, 0, None);
        for (view, target) in &parts {
            let out = self.model().look(view, &self.device);
            let report = self.objective.loss(out, target);
            let share = report.sum / count;
            loss += f64::from(share.clone().into_scalar::<f32>());
            tokens += view.ids.len() as u64;
            let more = GradientsParams::from_grads(share.backward(), self.model());
            sum = Some(gradients::accumulate(self.model(), sum, more));
        }
        let mut found = sum.expect("a step has a part");
        let norm = gradients::global_norm(self.model(), &found);
        if !(loss.is_finite() && norm.is_finite()) {
            let parameter = gradients::first_not_finite(self.model(), &found).unwrap_or_else(|| "none".into());
            return Err(TrainError::NotFinite { step, loss, norm, parameter });
        }
        if let Some(clip) = self.spec.clip.filter(|&clip| norm > clip) {
            found = gradients::scale(self.model(), found, clip / norm);
        }
        let learning_rate = self.spec.optimiser.learning_rate() * self.spec.schedule.factor(step, self.spec.steps());
        let model = self.model.take().expect("the model is away only within a step");
        self.model = Some(self.optimiser.step(learning_rate, model, found));
        if let (Some(decay), Some(last)) = (self.spec.average, self.average.take()) {
            self.average = Some(average(last, self.model(), decay, step));
        }
        self.state.step += 1;
        self.state.tokens += tokens;
        Ok(StepReport { step: self.state.step, loss, norm, learning_rate, tokens, time: started.elapsed() })
    }

    /// What is shown and asked in a step of a stage, in parts.
    fn parts(
        &self,
        stage: u64,
        Stage { sequences, length, parts, .. }: Stage,
        before: u64,
    ) -> Result<Vec<(TokenView, TokenTarget)>, TrainError> {
        let part = |part: u64| {
            let range = sequences * part / parts as u64..sequences * (part + 1) / parts as u64;
            let mut documents = Vec::new();
            for index in range {
                let slot = Slot { seed: self.spec.seed, stage, step: self.state.step, index, length };
                documents.extend(self.data.documents(&slot, before * sequences + index, &self.codec)?);
            }
            let mut draws = draws(self.spec.seed, Purpose::Corruption, self.state.step, part);
            let (view, target) = self.objective.corrupt(&documents, &mut draws);
            self.check(&view, &target)?;
            Ok((view, target))
        };
        (0..parts as u64).map(part).collect()
    }

    /// Whether the model knows all tokens.
    fn check(&self, view: &TokenView, target: &TokenTarget) -> Result<(), TrainError> {
        let vocabulary = self.model().spec().vocabulary;
        let unknown = view.ids.iter().chain(&target.ids).find(|&&id| id as usize >= vocabulary);
        unknown.map_or(Ok(()), |&id| Err(TrainError::Vocabulary { id, vocabulary }))
    }

    /// How well the result predicts the texts held out; none if there are none.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let (Some(data), Some(spec)) = (&self.held_out, &self.spec.evaluation) else { return Ok(None) };
        let longest = self.spec.stages.iter().map(|stage| stage.length).max().unwrap_or(1);
        let length = spec.length.unwrap_or(longest);
        let model = self.result().clone().valid();
        let device = self.device.clone().inner();
        let (mut nats, mut count, mut right, mut bytes) = (0.0, 0.0, 0.0, 0.0);
        for index in 0..spec.sequences {
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
        let bits_per_byte = (bytes > 0.0).then(|| nats / std::f64::consts::LN_2 / bytes);
        Ok(Some(Evaluation { step: self.state.step, loss: nats / count, accuracy: right / count, bits_per_byte }))
    }

    /// Writes a checkpoint; gives its path.
    pub fn save(&self) -> Result<PathBuf, TrainError> {
        let record = |what: &'static str, model: &Decoder| {
            let bytes = model.clone().into_record().into_bytes();
            bytes.map(|bytes| bytes.to_vec()).map_err(|error| TrainError::Record { what, reason: error.to_string() })
        };
        let optimiser = self.optimiser.into_bytes().map_err(|error| TrainError::Record {
            what: "save the state of the optimiser",
            reason: error.to_string(),
        })?;
        let mut parts = vec![(MODEL, record("save the weights", self.model())?), (OPTIMISER, optimiser.to_vec())];
        if let Some(average) = &self.average {
            parts.push((AVERAGE, record("save the average of the weights", average)?));
        }
        Ok(checkpoint::save(&self.folder, &self.state, &parts, self.spec.checkpoints.keep)?)
    }
}

const MODEL: &str = "model.bpk";
const AVERAGE: &str = "average.bpk";
const OPTIMISER: &str = "optimiser.bpk";

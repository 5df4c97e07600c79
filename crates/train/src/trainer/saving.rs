//! What of a run is kept on disk: checkpoints to go on from, and the best weights of a run that may go back to them.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use headwise_models::decoder::Decoder;

use super::{Evaluation, TrainError, Trainer};
use crate::checkpoint::{self, CheckpointError, Kind};
use crate::gradients;

const MODEL: &str = "model.bpk";
const AVERAGE: &str = "average.bpk";
const OPTIMISER: &str = "optimiser.bpk";
const SCORES: &str = "scores.f32";
const DISTILLATION: [&str; 2] = ["projection.bpk", "projection-optimiser.bpk"];

impl Trainer {
    /// The checkpoints in the run's folder, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>, TrainError> {
        Ok(checkpoint::list(&self.folder, Kind::Last)?)
    }

    /// Goes on from the last checkpoint in the run's folder, if there is one; tells whether.
    pub fn resume(&mut self) -> Result<bool, TrainError> {
        match self.checkpoints()?.pop() {
            Some(path) => self.restore(&path).map(|()| true),
            None => Ok(false),
        }
    }

    /// Goes on from the checkpoint at `path`.
    fn restore(&mut self, path: &Path) -> Result<(), TrainError> {
        let (state, mut parts) = checkpoint::load(path)?;
        if state.spec != self.hash {
            return Err(CheckpointError::OtherSpec { path: path.to_owned() }.into());
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
        let model = load(self.model().clone(), MODEL, take(MODEL)?)?;
        let average = match &self.average {
            Some(average) => Some(load(average.clone(), AVERAGE, take(AVERAGE)?)?),
            None => None,
        };
        let bytes = Bytes::from_bytes_vec(take(OPTIMISER)?);
        let optimiser = self.spec.optimiser.build(&model).from_bytes(bytes);
        self.optimiser = optimiser.map_err(|error| damaged(OPTIMISER, error.to_string()))?;
        if let Some(teacher) = &mut self.distillation
            && teacher.parts().is_ok_and(|parts| parts.is_some())
        {
            let [weights, state] = DISTILLATION;
            let restored = teacher.restore([take(weights)?, take(state)?]);
            restored.map_err(|reason| damaged(weights, reason))?;
        }
        if let Some(held) = &mut self.held
            && held.to_bytes(&model).is_some()
        {
            held.restore(&model, &take(SCORES)?).map_err(|error| damaged(SCORES, error.to_string()))?;
        }
        (self.model, self.average, self.state) = (Some(model), average, state);
        Ok(())
    }

    /// Compares an evaluation with the best so far; the best is saved if the run may go back to it.
    pub(super) fn note(&mut self, evaluation: &Evaluation) -> Result<(), TrainError> {
        if self.state.best.is_some_and(|(loss, _)| evaluation.loss >= loss || evaluation.loss.is_nan()) {
            self.state.waiting += 1;
            return Ok(());
        }
        self.state.best = Some((evaluation.loss, self.state.step));
        self.state.waiting = 0;
        if self.patience().is_some() {
            self.write(Kind::Best, 1)?;
        }
        Ok(())
    }

    /// Goes back to the best evaluation.
    pub(super) fn go_back(&mut self) -> Result<(), TrainError> {
        let (_, step) = self.state.best.expect("patience is lost by evaluations that are worse than the best");
        self.restore(&Kind::Best.path(&self.folder, step))
    }

    /// Writes a checkpoint; gives its path.
    pub fn save(&self) -> Result<PathBuf, TrainError> {
        self.write(Kind::Last, self.spec.checkpoints.keep)
    }

    /// One process writes; the others wait until they can read.
    fn write(&self, kind: Kind, keep: usize) -> Result<PathBuf, TrainError> {
        let parts = self.parts_to_save()?;
        if self.world.leads() {
            checkpoint::save(&self.folder, kind, &self.state, &parts, keep)?;
        }
        self.world.wait();
        Ok(kind.path(&self.folder, self.state.step))
    }

    /// The files of a checkpoint; an error if weights are broken, so that they never take the place of good ones.
    fn parts_to_save(&self) -> Result<Vec<(&'static str, Vec<u8>)>, TrainError> {
        if let Some(parameter) = gradients::first_not_finite(self.model(), &GradientsParams::new()) {
            return Err(TrainError::Weights { step: self.state.step, parameter });
        }
        let record = |what: &'static str, model: &Decoder| {
            let bytes = model.clone().into_record().into_bytes();
            bytes.map(|bytes| bytes.to_vec()).map_err(|error| TrainError::Record { what, reason: error.to_string() })
        };
        let optimiser = self.optimiser.into_bytes().map_err(|error| TrainError::Record {
            what: "save the state of the optimiser",
            reason: error.to_string(),
        })?;
        let mut parts = vec![(MODEL, record("save the weights", self.model())?), (OPTIMISER, optimiser.to_vec())];
        if let Some(teacher) = &self.distillation {
            let failed = |reason| TrainError::Record { what: "save what is learned beside the model", reason };
            let learned = teacher.parts().map_err(failed)?;
            parts.extend(learned.into_iter().flat_map(|parts| DISTILLATION.into_iter().zip(parts)));
        }
        parts.extend(self.held.as_ref().and_then(|held| held.to_bytes(self.model())).map(|bytes| (SCORES, bytes)));
        if let Some(average) = &self.average {
            parts.push((AVERAGE, record("save the average of the weights", average)?));
        }
        Ok(parts)
    }
}

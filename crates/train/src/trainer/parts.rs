//! How the sequences of a step are shared out among processes and devices.

use super::{TrainError, Trainer};
use crate::data::Slot;
use crate::devices::Devices;
use crate::draws::{Purpose, draws};
use crate::objective::{Objective, TokenTarget, TokenView};
use crate::spec::{Stage, TrainSpec};
use crate::world::World;

impl Trainer {
    /// What is shown and asked in a step of a stage: this process's share, in the parts of its first device, then of the next.
    pub(super) fn parts(
        &self,
        index: usize,
        stage: &Stage,
        before: u64,
    ) -> Result<Vec<(TokenView, TokenTarget)>, TrainError> {
        let &Stage { sequences, length, parts, .. } = stage;
        let parts = parts * self.devices.count();
        let (data, stage) = (self.staged[index].as_ref().unwrap_or(&self.data), index as u64);
        let shares = (parts * self.world.size()) as u64;
        let part = |part: u64| {
            let share = (parts * self.world.rank()) as u64 + part;
            let range = sequences * share / shares..sequences * (share + 1) / shares;
            let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
            for index in range {
                let slot = Slot { seed: self.spec.seed, stage, step: self.state.step, index, length };
                let documents = data.documents(&slot, before * sequences + index, &self.codec)?;
                // Numbers of its own for every sequence, so that it does not matter how a step is cut into parts.
                let mut draws = draws(self.spec.seed, Purpose::Corruption, self.state.step, index);
                let (shown, asked) = self.objective.corrupt(&documents, &mut draws);
                target.append(view.ids.len(), &asked);
                view.append(&shown);
            }
            self.check(&view, &target)?;
            Ok((view, target))
        };
        (0..parts as u64).map(part).collect()
    }

    /// Whether the model knows all tokens.
    pub(super) fn check(&self, view: &TokenView, target: &TokenTarget) -> Result<(), TrainError> {
        let vocabulary = self.model().spec().vocabulary;
        let unknown = view.ids.iter().chain(&target.ids).find(|&&id| id as usize >= vocabulary);
        unknown.map_or(Ok(()), |&id| Err(TrainError::Vocabulary { id, vocabulary }))
    }
}

/// Whether the sequences of every step can be shared out.
pub(super) fn check_shares(world: World, devices: &Devices, spec: &TrainSpec) -> Result<(), TrainError> {
    if spec.distil.is_some() && devices.count() > 1 {
        return Err(TrainError::Teacher("it teaches on one device".into()));
    }
    let (processes, devices) = (world.size(), devices.count());
    let too_few = |stage: &&Stage| stage.sequences < (stage.parts * devices * processes) as u64;
    spec.stages.iter().find(too_few).map_or(Ok(()), |&Stage { sequences, parts, .. }| {
        Err(TrainError::Shares { sequences, parts, devices, processes })
    })
}

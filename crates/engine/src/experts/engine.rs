//! An engine whose experts stay in their file.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use headwise_models::decoder::{Decoder, Weights};
use headwise_nn::channel::ExpertSource;

use super::{ExpertFlow, ExpertPolicy, ExpertsError, Offload, Path, Predictor, halves, keep_if_better};
use crate::cache::CachePolicy;
use crate::{Chunk, Engine, EngineError, Logits, Wanted};

/// Tokens of a text from which routes are learnt.
const LEARNT: usize = 256;

impl Engine {
    /// Loads the model in `directory` on `threads` threads but for its experts, which `policy` brings when they are needed. Every load
    /// takes `delay` longer than it does, to stand for a slower medium.
    pub fn open_with_experts(
        directory: &FilePath,
        weights: Weights,
        threads: usize,
        policy: &ExpertPolicy,
        delay: Duration,
    ) -> Result<Self, EngineError> {
        policy.check()?;
        let dense = || ExpertsError::Dense { model: directory.display().to_string() };
        if !directory.is_dir() {
            return Err(dense().into());
        }
        let (mut model, file) =
            Decoder::open_without_experts(directory, weights, &Device::flex())?.ok_or_else(dense)?;
        let offload = Offload::new(&model, file, policy.clone(), delay)?;
        let source: Arc<dyn ExpertSource> = offload.clone();
        model.set_experts(&source);
        let mut engine = Self::new(model, threads)?.with_files(directory);
        engine.experts = Some(offload);
        Ok(engine)
    }

    /// What brings the experts, if they stay in their file.
    pub fn experts(&self) -> Option<&Offload> {
        self.experts.as_deref()
    }

    /// Lets the policy learn from the text `ids` which experts tokens pass, if it foresees them and has not learnt yet. Reads the text.
    pub fn learn_routes(&self, ids: &[u32]) -> Result<(), EngineError> {
        let Some(offload) = self.experts() else { return Ok(()) };
        let ExpertPolicy::ExpertFlow(ExpertFlow { seed, .. }) = *offload.policy() else { return Ok(()) };
        if offload.predictor().is_some() {
            return Ok(());
        }
        offload.record();
        let mut read = Ok(());
        for ids in ids.chunks(LEARNT.min(self.most_tokens())) {
            read = self.sequence(&CachePolicy::full()).and_then(|mut sequence| {
                let chunk = Chunk { sequence: &mut sequence, ids, prompt_ends: true, wanted: Wanted::Nothing };
                self.forward(&mut [chunk]).map(drop)
            });
            if read.is_err() {
                break;
            }
        }
        let samples = offload.recorded();
        read?;
        if let Some(predictor) = Predictor::learn(&samples, self.spec().vocabulary, seed) {
            offload.set_predictor(predictor);
        }
        Ok(())
    }

    /// The same as [`forward`](Self::forward) in two forwards of half of `chunks` each: the first half and the second as they come, or,
    /// if the policy regroups texts, those that are expected to pass similar experts. Each text gets what it would get alone.
    pub fn forward_in_two(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, EngineError> {
        let half = chunks.len().div_ceil(2);
        let halves = self.regrouped(chunks).unwrap_or([(0..half).collect(), (half..chunks.len()).collect()]);
        self.forward_in_groups(chunks, &halves)
    }

    /// The same as [`forward`](Self::forward) in one forward for each of `groups`, which name every chunk once.
    pub fn forward_in_groups(
        &self,
        chunks: &mut [Chunk<'_>],
        groups: &[Vec<usize>],
    ) -> Result<Vec<Logits>, EngineError> {
        for chunk in chunks.iter() {
            self.check_text(chunk.sequence.tokens, chunk.ids)?;
        }
        let mut found = vec![Logits::default(); chunks.len()];
        for group in groups.iter().filter(|group| !group.is_empty()) {
            let mut together: Vec<Chunk<'_>> = Vec::with_capacity(group.len());
            let members = chunks.iter_mut().enumerate().filter(|(index, _)| group.contains(index));
            let mut order = Vec::with_capacity(group.len());
            for (index, chunk) in members {
                order.push(index);
                let Chunk { ids, prompt_ends, wanted, .. } = *chunk;
                together.push(Chunk { sequence: &mut *chunk.sequence, ids, prompt_ends, wanted });
            }
            for (index, logits) in order.into_iter().zip(self.forward(&mut together)?) {
                found[index] = logits;
            }
        }
        Ok(found)
    }

    /// Chunks in two groups that are expected to pass few experts each; none if the policy does not regroup.
    fn regrouped(&self, chunks: &[Chunk<'_>]) -> Option<[Vec<usize>; 2]> {
        let offload = self.experts()?;
        let (flow, predictor) = offload.foresight().filter(|(flow, _)| flow.schedule)?;
        let path = |chunk: &Chunk<'_>| {
            let mut path: Path = offload.path();
            let mut recent = chunk.sequence.recent;
            for &id in chunk.ids {
                recent.push(id);
                path.join(&predictor.path(&recent, offload.active(), flow.cut));
            }
            path
        };
        let paths: Vec<Path> = chunks.iter().map(path).collect();
        Some(keep_if_better(&paths, halves(&paths, flow.seed)))
    }
}

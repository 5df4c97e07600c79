//! Running a plan: the same tokens under every policy.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use headwise_engine::cache::CachePolicy;
use headwise_engine::experts::{ExpertPolicy, ExpertStatistics, Offload};
use headwise_engine::{Chunk, Engine, EngineError, Sequence, TextModel, Wanted};
use headwise_models::decoder::Weights;
use headwise_tasks::DEFAULT_TEXT;

use super::model::halves;
use super::{ExpertsComparison, ExpertsComparisonError, ExpertsRow, Plan, WHOLE};
use crate::compare::Moment;

/// The share of the work that training takes.
const TRAINING: f64 = 0.7;

/// What reading the texts gave.
struct Read {
    /// Of all scores.
    bits: u64,
    time: Duration,
    /// What the tokens after the prompts needed; nothing of a model whose experts are all in memory.
    counted: ExpertStatistics,
}

impl Plan {
    /// Reads the texts with the whole model and under every policy; the rows in this order. `said` is told how far it is.
    pub fn run(&self, said: &mut dyn FnMut(&Moment<'_>)) -> Result<Vec<ExpertsRow>, ExpertsComparisonError> {
        match &self.comparison.model {
            Some(folder) => self.run_on(folder, 0.0, said),
            None => {
                let folder = tempfile::tempdir()
                    .map_err(|source| ExpertsComparisonError::Io { path: std::env::temp_dir(), source })?;
                let (started, steps) = (Instant::now(), self.comparison.tiny.steps);
                self.comparison.tiny.write(folder.path(), self.comparison.seed, |step| {
                    let share = TRAINING * step as f64 / steps as f64;
                    said(&Moment::new("training a small mixture", share, started.elapsed()));
                })?;
                self.run_on(folder.path(), TRAINING, said)
            }
        }
    }

    fn run_on(
        &self,
        folder: &Path,
        before: f64,
        said: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Vec<ExpertsRow>, ExpertsComparisonError> {
        let ExpertsComparison { threads, delay, .. } = self.comparison;
        let started = Instant::now();
        let mut say = |done: usize, doing: &str| {
            let share = before + (1.0 - before) * done as f64 / (1 + self.policies.len()) as f64;
            said(&Moment::new(doing, share, started.elapsed()));
        };
        let (lesson, text) = halves(DEFAULT_TEXT);
        say(0, WHOLE);
        let whole = TextModel::open(folder, Weights::Stored, threads)?;
        let ids = whole.encode(text)?;
        let texts = self.texts(&ids)?;
        let read = self.read(&whole.engine, &texts)?;
        let mut rows = vec![self.row(&whole, WHOLE, &read, true)];
        let of_policy = |policy: &ExpertPolicy| -> Result<ExpertsRow, ExpertsComparisonError> {
            let model = TextModel::open_with_experts(folder, Weights::Stored, threads, policy, delay, lesson)?;
            let found = self.read(&model.engine, &texts)?;
            Ok(self.row(&model, &policy.to_string(), &found, found.bits == read.bits))
        };
        for (index, policy) in self.policies.iter().enumerate() {
            say(index + 1, &policy.to_string());
            rows.push(of_policy(policy)?);
        }
        let total = rows.iter().map(|row| row.total_bytes).max().unwrap_or(0);
        if let Some(whole) = rows.first_mut() {
            (whole.total_bytes, whole.capacity_bytes, whole.peak_bytes) = (total, total, total);
        }
        Ok(rows)
    }

    /// As many stretches of `ids` as texts are read at once, alike in length, from all over it.
    fn texts<'a>(&self, ids: &'a [u32]) -> Result<Vec<&'a [u32]>, ExpertsComparisonError> {
        let ExpertsComparison { batch, prompt, tokens, .. } = self.comparison;
        let (texts, length) = (2 * batch, prompt + tokens);
        let (needed, found) = (texts * length, ids.len());
        if needed > found {
            return Err(ExpertsComparisonError::Short { texts, length, needed, found });
        }
        Ok((0..texts).map(|text| &ids[text * (found / texts)..][..length]).collect())
    }

    /// Reads the prompts, then a token of every text at a time, in two batches; counts what the latter needed.
    fn read(&self, engine: &Engine, texts: &[&[u32]]) -> Result<Read, EngineError> {
        let ExpertsComparison { prompt, tokens, .. } = self.comparison;
        let mut bits = DefaultHasher::new();
        let mut note = |scores: &[f32]| scores.iter().for_each(|score| score.to_bits().hash(&mut bits));
        let mut sequences = Vec::with_capacity(texts.len());
        for ids in texts {
            let mut sequence: Sequence = engine.sequence(&CachePolicy::full())?;
            note(engine.prefill(&mut sequence, &ids[..prompt], |_| {})?.last());
            sequences.push(sequence);
        }
        if let Some(experts) = engine.experts() {
            experts.count_anew();
        }
        let started = Instant::now();
        for at in prompt..prompt + tokens {
            let mut chunks = Vec::with_capacity(texts.len());
            for (sequence, ids) in sequences.iter_mut().zip(texts) {
                chunks.push(Chunk { sequence, ids: &ids[at..=at], prompt_ends: true, wanted: Wanted::Last });
            }
            engine.forward_in_two(&mut chunks)?.iter().for_each(|scores| note(scores.last()));
        }
        let time = started.elapsed();
        let counted = engine.experts().map(Offload::statistics).unwrap_or_default();
        Ok(Read { bits: bits.finish(), time, counted })
    }

    fn row(&self, model: &TextModel, policy: &str, read: &Read, same_bits: bool) -> ExpertsRow {
        let ExpertsComparison { batch, tokens, delay, seed, .. } = self.comparison;
        let counted = &read.counted;
        let all = counted.hits();
        let name = if self.comparison.model.is_some() { model.name.clone() } else { "small mixture".to_owned() };
        ExpertsRow {
            policy: policy.to_owned(),
            model: name,
            hits_pct: (all.needed > 0).then(|| 100.0 * all.rate()),
            layer_hits_pct: counted.layers.iter().map(|layer| 100.0 * layer.rate()).collect(),
            late_pct: 100.0 * all.late as f64 / all.needed.max(1) as f64,
            loads_on_demand: counted.loads_on_demand,
            loads_ahead: counted.loads_ahead,
            capacity_bytes: counted.capacity_bytes as u64,
            peak_bytes: counted.peak_bytes as u64,
            total_bytes: counted.total_bytes as u64,
            tok_s: (2 * batch * tokens) as f64 / read.time.as_secs_f64().max(1e-9),
            delay_ms: delay.as_secs_f64() * 1e3,
            batch,
            tokens,
            same_bits,
            seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

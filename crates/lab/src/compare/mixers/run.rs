//! Running a plan: training every decoder, and testing it at every length.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use headwise_tasks::median;
use headwise_train::data::{Codec, Mixture, Slot};
use headwise_train::draws::{Purpose, draws};
use headwise_train::loss::Loss;
use headwise_train::objective::{Objective, ObjectiveSpec};
use headwise_train::scores::{Scores, measure};
use headwise_train::trainer::{StepReport, TrainError, Trainer};

use super::plan::Contest;
use super::{CurvePoint, MixerRow, MixersError, Plan, Subject};
use crate::compare::Moment;

/// Points of a loss curve.
const POINTS: u64 = 50;

/// Tokens that a test reads at once.
const TOKENS: usize = 4096;

/// Steps between two words on how far it is.
const SAID: u64 = 5;

/// What a test found.
struct Test {
    accuracy: f64,
    loss: f64,
    n: u64,
}

impl Plan {
    /// Trains and tests everything; the rows in the order of tasks, mixers, seeds and lengths. `said` is told how far it is.
    pub fn run(&self, said: &mut dyn FnMut(&Moment<'_>)) -> Result<Vec<MixerRow>, MixersError> {
        self.run_seeds(0..self.comparison.seeds, said)
    }

    /// The same with these seeds.
    pub(crate) fn run_seeds(
        &self,
        seeds: Range<u64>,
        said: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Vec<MixerRow>, MixersError> {
        let started = Instant::now();
        let runs = self.subjects().count() as f64 * (seeds.end - seeds.start) as f64;
        let (mut rows, mut done) = (Vec::new(), 0);
        for contest in &self.contests {
            for subject in &contest.subjects {
                for seed in seeds.clone() {
                    let mut said = |step: u64| {
                        let share = (done as f64 + step as f64 / self.comparison.steps as f64) / runs;
                        let doing = format!("{} on {}, seed {seed}", subject.name, contest.name);
                        said(&Moment::new(&doing, share, started.elapsed()));
                    };
                    let found = self.train(contest, subject, seed, &mut said).map_err(|source| MixersError::Run {
                        mixer: subject.name.clone(),
                        task: contest.name.clone(),
                        seed,
                        source: Box::new(source),
                    });
                    rows.extend(found?);
                    done += 1;
                }
            }
        }
        Ok(rows)
    }

    /// The rows of one decoder, one for every length of a test.
    fn train(
        &self,
        contest: &Contest,
        subject: &Subject,
        seed: u64,
        said: &mut dyn FnMut(u64),
    ) -> Result<Vec<MixerRow>, TrainError> {
        // Nothing is saved, so the folder is never used.
        let mut trainer = Trainer::new(self.training(contest, subject, seed), Path::new(""))?;
        let steps = self.comparison.steps;
        let mut reports: Vec<StepReport> = Vec::new();
        for step in 0..steps {
            if step % SAID == 0 {
                said(step);
            }
            reports.push(trainer.step()?);
        }
        let speeds: Vec<f64> =
            reports.iter().map(|report| report.tokens as f64 / report.time.as_secs_f64().max(1e-9)).collect();
        let train_tok_s = median(&speeds).unwrap_or(0.0);
        let row = |(&test_length, &state_bytes): (&usize, &u64)| {
            let Test { accuracy, loss, n } = self.test(contest, &trainer, seed, test_length)?;
            let length = self.comparison.length;
            Ok(MixerRow {
                mixer: subject.name.clone(),
                task: contest.name.clone(),
                length,
                test_length,
                accuracy,
                loss,
                n,
                parameters: subject.parameters,
                hidden: subject.hidden,
                state_bytes,
                train_tok_s,
                steps,
                seed,
                curve: (test_length == length).then(|| curve(&reports)),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
        };
        self.test_lengths.iter().zip(&subject.state_bytes).map(row).collect()
    }

    /// Sequences of `length` tokens that the decoder was not trained on, the same for all mixers.
    fn test(&self, contest: &Contest, trainer: &Trainer, seed: u64, length: usize) -> Result<Test, TrainError> {
        let data = Mixture::open(std::slice::from_ref(&contest.task), &Codec::Bytes)?;
        let model = trainer.result().valid();
        let device = Device::flex();
        let objective = ObjectiveSpec::default().build(Loss::default());
        let at_once = (TOKENS / length).max(1) as u64;
        let (mut sum, mut n) = (Scores::default(), 0);
        for first in (0..self.comparison.test_sequences).step_by(at_once as usize) {
            let mut documents = Vec::new();
            for index in first..(first + at_once).min(self.comparison.test_sequences) {
                let slot = Slot { seed: !seed, stage: 0, step: 0, index, length };
                documents.extend(data.documents(&slot, index, &Codec::Bytes)?);
            }
            let mut draws = draws(!seed, Purpose::Evaluation, 0, first);
            let (view, target) = objective.corrupt(&documents, &mut draws);
            let scores = measure(&model, &view, &target, &device);
            sum.nats += scores.nats;
            sum.right += scores.right;
            n += target.ids.len() as u64;
        }
        let answers = (n as f64).max(1.0);
        Ok(Test { accuracy: 100.0 * sum.right / answers, loss: sum.nats / answers, n })
    }
}

/// The mean losses of at most [`POINTS`] stretches of a run, all equally long but the last.
fn curve(reports: &[StepReport]) -> Vec<CurvePoint> {
    let stretch = reports.len().div_ceil(POINTS as usize).max(1);
    let point = |reports: &[StepReport]| {
        let loss = reports.iter().map(|report| report.loss).sum::<f64>() / reports.len() as f64;
        Some(CurvePoint { step: reports.last()?.step, loss })
    };
    reports.chunks(stretch).filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_curve_has_few_points_and_all_losses() {
        let report = |step: u64| StepReport {
            step,
            loss: step as f64,
            norm: 1.0,
            learning_rate: 1e-3,
            tokens: 1,
            time: Duration::from_secs(1),
        };
        let reports: Vec<StepReport> = (1..=120).map(report).collect();
        let points = curve(&reports);
        assert_eq!(points.len(), 40);
        assert_eq!((points[0].step, points[0].loss), (3, 2.0));
        assert_eq!(points[39].step, 120);
        assert_eq!(curve(&reports[..2]).len(), 2);
    }
}

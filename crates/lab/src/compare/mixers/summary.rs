//! Folds the rows of a comparison into one [`MixerSummary`] for every task and mixer: medians over the seeds.

use headwise_tasks::median;

use super::{CurvePoint, MixerRow};

/// The median over the seeds, and its extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub most: f64,
}

/// What a mixer does at one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// Tokens of a sequence.
    pub length: usize,
    /// Answers that were right, 0–100.
    pub accuracy: Spread,
    /// Median loss of the right answers, in nats.
    pub loss: f64,
    /// Bytes that the decoder keeps of so many tokens.
    pub state_bytes: u64,
}

/// Everything measured of one mixer on one task.
#[derive(Clone, Debug, PartialEq)]
pub struct MixerSummary {
    /// Canonical text of the task.
    pub task: String,
    /// Canonical text of the mixer.
    pub mixer: String,
    /// Tokens of a sequence in training.
    pub length: usize,
    /// Parameters of the decoder.
    pub parameters: usize,
    /// Inner width of its channel layers.
    pub hidden: usize,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Runs.
    pub seeds: usize,
    /// Median of the tokens trained on per second.
    pub train_tok_s: f64,
    /// The tests, shortest first.
    pub tests: Vec<Tested>,
    /// The median loss over the seeds, over the run.
    pub curve: Vec<CurvePoint>,
}

/// One summary for every task and mixer, in the order in which they first appear.
pub fn summarise(rows: &[MixerRow]) -> Vec<MixerSummary> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        let key = (row.task.as_str(), row.mixer.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |(task, mixer): (&str, &str)| {
        let own: Vec<&MixerRow> = rows.iter().filter(|row| row.task == task && row.mixer == mixer).collect();
        own.first().map(|first| MixerSummary::of(first, &own))
    };
    keys.into_iter().filter_map(of).collect()
}

impl MixerSummary {
    fn of(first: &MixerRow, rows: &[&MixerRow]) -> Self {
        let mut lengths: Vec<usize> = rows.iter().map(|row| row.test_length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut seeds: Vec<u64> = rows.iter().map(|row| row.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let speeds: Vec<f64> = rows.iter().map(|row| row.train_tok_s).collect();
        Self {
            task: first.task.clone(),
            mixer: first.mixer.clone(),
            length: first.length,
            parameters: first.parameters,
            hidden: first.hidden,
            steps: first.steps,
            seeds: seeds.len(),
            train_tok_s: median(&speeds).unwrap_or(f64::NAN),
            tests: lengths.into_iter().filter_map(|length| tested(rows, length)).collect(),
            curve: curve(rows),
        }
    }

    /// The test at the length of training.
    pub fn trained(&self) -> Option<&Tested> {
        self.tests.iter().find(|test| test.length == self.length)
    }

    /// The test at the longest length.
    pub fn longest(&self) -> Option<&Tested> {
        self.tests.last()
    }
}

fn tested(rows: &[&MixerRow], length: usize) -> Option<Tested> {
    let own = || rows.iter().filter(|row| row.test_length == length);
    let accuracies: Vec<f64> = own().map(|row| row.accuracy).collect();
    let losses: Vec<f64> = own().map(|row| row.loss).collect();
    let accuracy = Spread {
        least: accuracies.iter().copied().fold(f64::INFINITY, f64::min),
        median: median(&accuracies)?,
        most: accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    Some(Tested { length, accuracy, loss: median(&losses)?, state_bytes: own().next()?.state_bytes })
}

/// The median of the curves, step by step.
fn curve(rows: &[&MixerRow]) -> Vec<CurvePoint> {
    let curves: Vec<&Vec<CurvePoint>> = rows.iter().filter_map(|row| row.curve.as_ref()).collect();
    let Some(first) = curves.first() else { return Vec::new() };
    let point = |(index, point): (usize, &CurvePoint)| {
        let losses: Vec<f64> = curves.iter().filter_map(|curve| curve.get(index)).map(|point| point.loss).collect();
        Some(CurvePoint { step: point.step, loss: median(&losses)? })
    };
    first.iter().enumerate().filter_map(point).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run whose accuracy at 48 and at 96 tokens is known.
    fn run(mixer: &str, seed: u64, accuracies: [f64; 2], state: [u64; 2]) -> Vec<MixerRow> {
        let (parameters, train_tok_s) = if mixer == "gla" { (98_100, 2000.0) } else { (98_000, 1000.0) };
        let row = |index: usize| MixerRow {
            mixer: mixer.into(),
            task: "multi_query_recall".into(),
            length: 48,
            test_length: 48 * (index + 1),
            accuracy: accuracies[index],
            loss: 0.5,
            n: 4096,
            parameters,
            hidden: 128,
            state_bytes: state[index],
            train_tok_s,
            steps: 800,
            seed,
            curve: (index == 0).then(|| {
                [(400, 3.0), (800, 1.0)].map(|(step, loss)| CurvePoint { step, loss: loss + seed as f64 }).to_vec()
            }),
            version: "0.1.0".into(),
        };
        vec![row(0), row(1)]
    }

    /// Three seeds of three mixers.
    pub fn rows() -> Vec<MixerRow> {
        let mut rows = Vec::new();
        for (seed, softmax, gla) in [(0, [99.5, 40.0], [80.0, 70.0]), (1, [100.0, 50.0], [85.0, 75.0])] {
            rows.extend(run("softmax", seed, softmax, [24 << 10, 48 << 10]));
            rows.extend(run("gla", seed, gla, [8 << 10; 2]));
            rows.extend(run("linear_attention", seed, [20.0, 10.0], [9 << 10; 2]));
        }
        rows.extend(run("softmax", 2, [98.0, 30.0], [24 << 10, 48 << 10]));
        rows.extend(run("gla", 2, [10.0, 5.0], [8 << 10; 2]));
        rows.extend(run("linear_attention", 2, [20.0, 10.0], [9 << 10; 2]));
        rows
    }

    #[test]
    fn medians_over_seeds_and_their_extremes() {
        let summaries = summarise(&rows());
        let names: Vec<&str> = summaries.iter().map(|summary| summary.mixer.as_str()).collect();
        assert_eq!(names, ["softmax", "gla", "linear_attention"]);
        let gla = &summaries[1];
        assert_eq!((gla.seeds, gla.tests.len()), (3, 2));
        assert_eq!(gla.trained().unwrap().accuracy, Spread { least: 10.0, median: 80.0, most: 85.0 });
        assert_eq!(gla.longest().unwrap().length, 96);
        let losses: Vec<f64> = gla.curve.iter().map(|point| point.loss).collect();
        assert_eq!(losses, [4.0, 2.0]);
    }
}

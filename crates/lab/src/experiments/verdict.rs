//! From the numbers of several seeds to a verdict.

use serde::{Deserialize, Serialize};

use super::{Direction, Experiment, Measured};

/// What the seeds say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The median meets the threshold, and no seed is on the wrong side of the baseline.
    Holds,
    /// It does not.
    Fails,
    /// The baseline cannot do the task, so nothing follows.
    Inconclusive,
}

impl Verdict {
    /// The word in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What one seed gave for one claim, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// The system.
    pub id: String,
    /// The claim.
    pub claim: String,
    /// On which side of the threshold it holds.
    pub direction: Direction,
    /// The number of this seed.
    pub measured: f64,
    /// The number of the baseline.
    pub baseline: Option<f64>,
    /// The threshold.
    pub threshold: f64,
    /// The verdict over all seeds.
    pub verdict: Verdict,
    /// The seed.
    pub seed: u64,
    /// How long all claims of the seed took.
    pub seconds: f64,
    /// The model, where one was loaded.
    pub model: Option<String>,
    /// Version of the program.
    pub version: String,
}

/// The rows of an experiment whose seeds gave `runs`: seed, seconds, and a number for each claim.
pub fn verdicts(experiment: &Experiment, runs: &[(u64, f64, Vec<Measured>)]) -> Vec<ExperimentRow> {
    let mut rows = Vec::new();
    for (index, claim) in experiment.claims.iter().enumerate() {
        let measured: Vec<Measured> = runs.iter().map(|(_, _, numbers)| numbers[index]).collect();
        let verdict = verdict(claim.direction, claim.threshold, &measured);
        rows.extend(runs.iter().zip(&measured).map(|(&(seed, seconds, _), number)| ExperimentRow {
            id: experiment.id.to_owned(),
            claim: claim.text.to_owned(),
            direction: claim.direction,
            measured: number.value,
            baseline: number.baseline,
            threshold: claim.threshold,
            verdict,
            seed,
            seconds,
            model: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }));
    }
    rows
}

fn verdict(direction: Direction, threshold: f64, measured: &[Measured]) -> Verdict {
    if measured.iter().any(|number| !number.conclusive) {
        return Verdict::Inconclusive;
    }
    let mut values: Vec<f64> = measured.iter().map(|number| number.value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() {
        0 => return Verdict::Inconclusive,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    };
    let right = |number: &Measured| number.baseline.is_none_or(|baseline| direction.holds(number.value, baseline));
    match direction.holds(median, threshold) && measured.iter().all(right) {
        true => Verdict::Holds,
        false => Verdict::Fails,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_every_baseline_decide() {
        let of = |numbers: &[(f64, f64)]| {
            let measured: Vec<_> =
                numbers.iter().map(|&(value, baseline)| Measured::against(value, baseline)).collect();
            verdict(Direction::AtLeast, 0.9, &measured)
        };
        assert_eq!(of(&[(0.95, 0.5), (0.92, 0.5), (0.7, 0.5)]), Verdict::Holds);
        assert_eq!(of(&[(0.95, 0.5), (0.92, 0.5), (0.4, 0.5)]), Verdict::Fails);
        assert_eq!(of(&[(0.95, 0.5), (0.82, 0.5), (0.7, 0.5)]), Verdict::Fails);
        let unable = Measured { conclusive: false, ..Measured::alone(1.0) };
        assert_eq!(verdict(Direction::AtLeast, 0.9, &[unable]), Verdict::Inconclusive);
        assert_eq!(verdict(Direction::AtMost, 0.5, &[Measured::alone(0.4), Measured::alone(0.7)]), Verdict::Fails);
        assert_eq!(verdict(Direction::AtMost, 0.5, &[Measured::alone(f64::NAN)]), Verdict::Fails);
    }
}

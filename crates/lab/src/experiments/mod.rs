//! The claims of published systems, run at small scale: one file for each system, one table of them all.
//!
//! An experiment measures each of its claims against a baseline and a threshold, for one seed. The verdict is over all seeds:
//! the median meets the threshold and no seed is on the wrong side of the baseline; it is inconclusive if the baseline itself
//! cannot do the task.

mod i01;
mod i02;
mod i03;
mod i04;
mod i05;
mod i06;
mod i07;
mod i08;
mod i09;
mod i10;
mod i11;
mod i12;
mod i13;
mod i14;
mod i15;
mod i16;
mod i17;
mod i18;
mod i19;
mod i20;
mod i22;
mod i23;
mod l04;
mod l14;
mod needles;
mod record;
mod t01;
mod verdict;

pub use record::{Record, RecordError, Status, status};
pub use verdict::{ExperimentRow, Verdict, verdicts};

/// On which side of the threshold a claim holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The measured number is at least the threshold.
    AtLeast,
    /// The measured number is at most the threshold.
    AtMost,
}

impl Direction {
    /// Whether `value` is on the right side of `limit`.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
        }
    }

    /// `≥` or `≤`.
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => "≥",
            Self::AtMost => "≤",
        }
    }
}

/// A statement that can turn out false.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// What is said, with the unit of the number.
    pub text: &'static str,
    /// On which side of the threshold it holds.
    pub direction: Direction,
    /// The threshold.
    pub threshold: f64,
}

/// What one seed gave for one claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The number that the claim is about.
    pub value: f64,
    /// The same number of the baseline, where there is one.
    pub baseline: Option<f64>,
    /// Whether the baseline can do the task at all.
    pub conclusive: bool,
}

impl Measured {
    /// A number without a baseline.
    pub fn alone(value: f64) -> Self {
        Self { value, baseline: None, conclusive: true }
    }

    /// A number beside the baseline's.
    pub fn against(value: f64, baseline: f64) -> Self {
        Self { value, baseline: Some(baseline), conclusive: true }
    }
}

/// The claims of one system, and how they are measured.
pub struct Experiment {
    /// The id of the system in the catalogue.
    pub id: &'static str,
    /// Its claims.
    pub claims: &'static [Claim],
    /// About how long one seed takes on two cores, in seconds.
    pub seconds: u64,
    /// The file itself, so that a recorded result is known to be of this very code.
    pub source: &'static str,
    /// Measures all claims, in their order, for a seed.
    pub run: fn(seed: u64) -> Vec<Measured>,
}

/// Every experiment, by id.
pub const EXPERIMENTS: &[Experiment] = &[
    i01::EXPERIMENT,
    i02::EXPERIMENT,
    i03::EXPERIMENT,
    i04::EXPERIMENT,
    i05::EXPERIMENT,
    i06::EXPERIMENT,
    i07::EXPERIMENT,
    i08::EXPERIMENT,
    i09::EXPERIMENT,
    i10::EXPERIMENT,
    i11::EXPERIMENT,
    i12::EXPERIMENT,
    i13::EXPERIMENT,
    i14::EXPERIMENT,
    i15::EXPERIMENT,
    i16::EXPERIMENT,
    i17::EXPERIMENT,
    i18::EXPERIMENT,
    i19::EXPERIMENT,
    i20::EXPERIMENT,
    i22::EXPERIMENT,
    i23::EXPERIMENT,
    l04::EXPERIMENT,
    l14::EXPERIMENT,
    t01::EXPERIMENT,
];

/// The experiment of the system `id`, in any case.
pub fn find(id: &str) -> Option<&'static Experiment> {
    EXPERIMENTS.iter().find(|experiment| experiment.id.eq_ignore_ascii_case(id))
}

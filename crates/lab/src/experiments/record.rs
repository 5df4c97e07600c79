//! Recorded results: files under `results/reproduce`, and what they say of the code as it is now.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Experiment, ExperimentRow, Verdict};
use crate::rows::Envelope;

/// A recorded run of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The day, `2026-11-22`.
    pub date: String,
    /// The SHA-256 of the experiment's source file.
    pub source: String,
    /// The rows, with what ran them.
    #[serde(flatten)]
    pub envelope: Envelope<ExperimentRow>,
}

/// What is known of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every claim holds.
    Holds,
    /// A claim fails.
    Fails,
    /// No claim fails, but one is inconclusive.
    Inconclusive,
    /// There is no experiment, or no record of it.
    NotRun,
    /// The experiment has changed since it was recorded.
    Stale,
}

impl Status {
    /// The words in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Inconclusive => "inconclusive",
            Self::NotRun => "not run",
            Self::Stale => "stale",
        }
    }
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Record {
    /// Writes the record of `id` into `folder`; gives the file.
    pub fn write(&self, folder: &Path, id: &str) -> Result<PathBuf, RecordError> {
        let path = folder.join(format!("{id}.json"));
        let text = serde_json::to_string_pretty(self).expect("rows are plain data") + "\n";
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| RecordError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}

/// What the record `text` says of `experiment`.
pub fn status(experiment: &Experiment, text: Option<&str>) -> Status {
    let Some(record) = text.and_then(|text| serde_json::from_str::<Record>(text).ok()) else { return Status::NotRun };
    let rows = &record.envelope.rows;
    let recorded =
        |claim: &super::Claim| rows.iter().any(|row| row.claim == claim.text && row.threshold == claim.threshold);
    let any = |verdict: Verdict| rows.iter().any(|row| row.verdict == verdict);
    match () {
        () if record.source != experiment.hash() || !experiment.claims.iter().all(recorded) => Status::Stale,
        () if any(Verdict::Fails) => Status::Fails,
        () if any(Verdict::Inconclusive) => Status::Inconclusive,
        () => Status::Holds,
    }
}

impl Experiment {
    /// The SHA-256 of its source file.
    pub fn hash(&self) -> String {
        headwise_train::checkpoint::hash(self.source.as_bytes())
    }
}

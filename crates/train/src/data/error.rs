//! Why there is nothing to learn from.

use std::path::PathBuf;

use headwise_models::tokenizer::TokenizerError;
use headwise_tasks::TaskError;
use headwise_tasks::labelled_files::FileError;

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without files.
    #[error("{}: no file is left to read: check `path`, `only` and `exclude`", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Files without text.
    #[error("{}: less than two tokens of text: there is nothing to predict", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file that is no text.
    #[error("{} is not UTF-8: byte {at} cannot be read as text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The byte.
        at: usize,
    },
    /// A file of tokens that cannot be used.
    #[error("{} cannot be read as tokens: {problem}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The tokenizer cannot be read, or cannot encode a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A task cannot be had.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A task has no sample of the wanted length.
    #[error("at {length} tokens: {source}")]
    Length {
        /// The length.
        length: usize,
        /// Why.
        source: TaskError,
    },
    /// The published data of a task cannot be read.
    #[error(transparent)]
    Labelled(#[from] FileError),
    /// No source, or weights that say nothing.
    #[error("{0}")]
    Mixture(String),
    /// A tokenizer could not be trained.
    #[error("cannot train a tokenizer: {0}")]
    Bpe(String),
}

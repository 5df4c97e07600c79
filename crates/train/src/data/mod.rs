//! What to learn from: sources of documents, mixed.
//!
//! The documents of a step depend on nothing but the specs, the seed and the number of the step, so a run that goes on
//! after a stop sees what it would have seen.

mod bpe;
mod codec;
mod mixture;
mod needle;
mod permutation;
mod recall;
mod text;

use std::path::PathBuf;

use headwise_models::tokenizer::TokenizerError;
use headwise_tasks::TaskError;

pub use bpe::Bpe;
pub use codec::{Bytes, Codec, TokenizerFile, TokenizerSpec};
pub use mixture::Mixture;
pub use needle::{Needle, NeedleSource};
pub use recall::{CopyingSpec, InductionSpec, MultiQueryRecallSpec, SelectiveCopyingSpec};
pub use text::{Text, TextSource};

use crate::objective::Document;

headwise_spec::family! {
    /// A source of documents.
    pub enum SourceSpec: "source" {
        text => Text,
        needle => Needle,
        multi_query_recall => MultiQueryRecallSpec,
        induction => InductionSpec,
        copying => CopyingSpec,
        selective_copying => SelectiveCopyingSpec,
    }
}

impl SourceSpec {
    /// Share of the sequences, compared with the other sources.
    pub fn weight(&self) -> f64 {
        match self {
            Self::Text(spec) => spec.weight,
            Self::Needle(spec) => spec.weight,
            Self::MultiQueryRecallSpec(spec) => spec.weight,
            Self::InductionSpec(spec) => spec.weight,
            Self::CopyingSpec(spec) => spec.weight,
            Self::SelectiveCopyingSpec(spec) => spec.weight,
        }
    }

    /// The path of the files that the source reads.
    pub(crate) fn path(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(spec) => Some(&mut spec.path),
            Self::Needle(spec) => spec.path.as_mut(),
            _ => None,
        }
    }

    /// Reads what the source needs.
    pub fn open(&self, codec: &Codec) -> Result<Source, DataError> {
        Ok(match self {
            Self::Text(spec) => Source::Text(TextSource::open(spec, codec)?),
            Self::Needle(spec) => Source::Needle(NeedleSource::open(spec, codec)?),
            task => Source::TokenTask(task.clone()),
        })
    }
}

/// An open source.
#[derive(Debug)]
pub enum Source {
    /// See [`Text`].
    Text(TextSource),
    /// See [`Needle`].
    Needle(NeedleSource),
    /// A token task, made as it is needed.
    TokenTask(SourceSpec),
}

/// A sequence to be filled with documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The seed of the run.
    pub seed: u64,
    /// The stage of training; each reads texts in an order of its own.
    pub stage: u64,
    /// The step.
    pub step: u64,
    /// The sequence of the step.
    pub index: u64,
    /// Most tokens to predict.
    pub length: usize,
}

impl Source {
    /// The documents of a slot that is the `index`-th of this source in its stage.
    pub fn documents(&self, slot: &Slot, index: u64, codec: &Codec) -> Result<Vec<Document>, DataError> {
        match self {
            Self::Text(source) => Ok(source.documents(slot, index)),
            Self::Needle(source) => source.documents(slot, codec),
            Self::TokenTask(task) => {
                let document = match task {
                    SourceSpec::MultiQueryRecallSpec(spec) => recall::document(&spec.task(slot.length), slot),
                    SourceSpec::InductionSpec(spec) => recall::document(&spec.task(slot.length), slot),
                    SourceSpec::CopyingSpec(spec) => recall::document(&spec.task(slot.length), slot),
                    SourceSpec::SelectiveCopyingSpec(spec) => recall::document(&spec.task(slot.length), slot),
                    SourceSpec::Text(_) | SourceSpec::Needle(_) => unreachable!("opened as sources of their own"),
                };
                document.map(|document| vec![document])
            }
        }
    }
}

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
    /// The tokenizer cannot be read, or cannot encode a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A task has no sample of the wanted length.
    #[error(transparent)]
    Task(TaskError),
    /// No source, or weights that say nothing.
    #[error("{0}")]
    Mixture(String),
    /// A tokenizer could not be trained.
    #[error("cannot train a tokenizer: {0}")]
    Bpe(String),
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::SourceSpec>();
    }
}

//! What to learn from: sources of documents, mixed.
//!
//! The documents of a step depend on nothing but the specs, the seed and the number of the step, so a run that goes on
//! after a stop sees what it would have seen.
//!
//! A source is a spec that opens a [`Source`]. To add one, copy a struct of `recall.rs` (a task of tokens) or `classify.rs` (a
//! task of classes) and name it in [`SourceSpec`] and in the list below it.

mod bpe;
mod bytes;
mod classify;
mod codec;
mod error;
mod formal;
mod mixture;
mod needle;
mod permutation;
mod recall;
mod repeated_text;
mod task;
mod text;
mod token_file;
mod windows;

use std::fmt::Debug;

pub use bpe::Bpe;
pub use bytes::Bytes;
pub use classify::{
    ByteRetrievalSpec, ByteSentimentSpec, ListOpsSpec, PathfinderSize, PathfinderSpec, ShapeImagesSpec,
};
pub use codec::{Codec, TokenizerFile, TokenizerSpec};
pub use error::DataError;
pub use formal::{DyckSpec, MarkovSpec};
pub use mixture::Mixture;
pub use needle::Needle;
pub use recall::{
    CopyingSpec, InductionSpec, KeyValueRecallSpec, MultiQueryRecallSpec, PhoneBookSpec, SelectiveCopyingSpec,
    TransliterationSpec,
};
pub use repeated_text::RepeatedText;
pub use text::Text;
pub use token_file::{Tokens, Written, write_tokens};

use crate::objective::Document;

headwise_spec::family! {
    /// A source of documents.
    pub enum SourceSpec: "source" {
        text => Text,
        repeated_text => RepeatedText,
        tokens => Tokens,
        needle => Needle,
        multi_query_recall => MultiQueryRecallSpec,
        key_value_recall => KeyValueRecallSpec,
        induction => InductionSpec,
        copying => CopyingSpec,
        selective_copying => SelectiveCopyingSpec,
        phone_book => PhoneBookSpec,
        transliteration => TransliterationSpec,
        dyck => DyckSpec,
        markov => MarkovSpec,
        list_ops => ListOpsSpec,
        byte_sentiment => ByteSentimentSpec,
        byte_retrieval => ByteRetrievalSpec,
        shape_images => ShapeImagesSpec,
        pathfinder => PathfinderSpec,
    }
}

/// The value of an expression of the source's method, whichever it is.
macro_rules! of_method {
    ($source:expr, $method:ident => $value:expr) => {
        match $source {
            SourceSpec::Text($method) => $value,
            SourceSpec::RepeatedText($method) => $value,
            SourceSpec::Tokens($method) => $value,
            SourceSpec::Needle($method) => $value,
            SourceSpec::MultiQueryRecallSpec($method) => $value,
            SourceSpec::KeyValueRecallSpec($method) => $value,
            SourceSpec::InductionSpec($method) => $value,
            SourceSpec::CopyingSpec($method) => $value,
            SourceSpec::SelectiveCopyingSpec($method) => $value,
            SourceSpec::PhoneBookSpec($method) => $value,
            SourceSpec::TransliterationSpec($method) => $value,
            SourceSpec::DyckSpec($method) => $value,
            SourceSpec::MarkovSpec($method) => $value,
            SourceSpec::ListOpsSpec($method) => $value,
            SourceSpec::ByteSentimentSpec($method) => $value,
            SourceSpec::ByteRetrievalSpec($method) => $value,
            SourceSpec::ShapeImagesSpec($method) => $value,
            SourceSpec::PathfinderSpec($method) => $value,
        }
    };
}

/// What the method of a source says beyond its weight.
trait SourceMethod {
    /// The tokens of a task, classes included: every id and every answer is below. None where tokens are those of a text.
    fn vocabulary(&self) -> Option<u32> {
        None
    }

    /// The path of the files that it reads.
    fn path(&mut self) -> Option<&mut String> {
        None
    }

    /// What a vocabulary is learnt from.
    fn texts(&self) -> Result<Vec<String>, DataError> {
        Ok(Vec::new())
    }

    /// Reads what it needs.
    fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError>;
}

/// An open source.
pub trait Source: Debug + Send + Sync {
    /// The documents of a slot that is the `index`-th of this source in its stage.
    fn documents(&self, slot: &Slot, index: u64, codec: &Codec) -> Result<Vec<Document>, DataError>;
}

impl SourceSpec {
    /// Share of the sequences, compared with the other sources.
    pub fn weight(&self) -> f64 {
        of_method!(self, method => method.weight)
    }

    /// The tokens of a task, classes included: every id and every answer is below. None where tokens are those of a text.
    pub fn vocabulary(&self) -> Option<u32> {
        of_method!(self, method => method.vocabulary())
    }

    /// The path of the files that the source reads.
    pub fn path(&mut self) -> Option<&mut String> {
        of_method!(self, method => method.path())
    }

    /// What a vocabulary is learnt from.
    fn texts(&self) -> Result<Vec<String>, DataError> {
        of_method!(self, method => method.texts())
    }

    /// Reads what the source needs.
    pub fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError> {
        of_method!(self, method => method.open(codec))
    }
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

#[cfg(test)]
mod tests {
    use headwise_spec::Family;

    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<SourceSpec>();
    }

    /// Every task that there is, with its defaults.
    fn tasks() -> Vec<SourceSpec> {
        let all = SourceSpec::names().into_iter().map(|name| headwise_spec::from_text::<SourceSpec>(name).unwrap());
        all.filter(|source| source.vocabulary().is_some()).collect()
    }

    fn documents(source: &SourceSpec, length: usize, index: u64) -> Result<Vec<Document>, DataError> {
        let slot = Slot { seed: 7, stage: 0, step: 3, index, length };
        source.open(&Codec::Bytes)?.documents(&slot, index, &Codec::Bytes)
    }

    #[test]
    fn tasks_ask_within_their_length_and_vocabulary() {
        let tasks = tasks();
        assert_eq!(tasks.len(), SourceSpec::names().len() - 4, "all but texts, tokens and needles");
        for task in tasks {
            let (name, vocabulary) = (task.name(), task.vocabulary().unwrap());
            for index in 0..3 {
                let [document] = documents(&task, 1100, index).unwrap().try_into().unwrap();
                assert_eq!([document.answers.len(), document.weights.len()], [document.ids.len(); 2], "{name}");
                assert!((1..=1100).contains(&document.ids.len()), "{name}: {}", document.ids.len());
                assert!(document.weights.iter().sum::<f32>() >= 1.0, "{name} asks nothing");
                assert!(document.ids.iter().chain(&document.answers).all(|&id| id < vocabulary), "{name}");
                assert_eq!(documents(&task, 1100, index).unwrap(), [document], "{name}");
            }
            assert_ne!(documents(&task, 1100, 0).unwrap(), documents(&task, 1100, 1).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_length_that_is_too_short_is_named() {
        for task in tasks() {
            let error = documents(&task, 1, 0).unwrap_err().to_string();
            assert!(error.contains("at 1 tokens") && error.contains(task.name()), "{error}");
        }
    }
}

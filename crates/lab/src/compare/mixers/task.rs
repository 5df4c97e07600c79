//! The tasks of a comparison: sources of training data that know the right answers.

use headwise_spec::Family;
use headwise_train::data::{Codec, Mixture, Slot, SourceSpec};

use super::MixersError;

/// Names of the tasks.
pub const TASKS: [&str; 4] = ["multi_query_recall", "copying", "selective_copying", "induction"];

/// The task that `text` names, with parameters if it has any.
pub(super) fn parse(text: &str) -> Result<SourceSpec, MixersError> {
    let task: SourceSpec =
        headwise_spec::from_text(text).map_err(|source| MixersError::Task { task: text.into(), source })?;
    match TASKS.contains(&task.name()) {
        true => Ok(task),
        false => Err(MixersError::NoAnswers { task: text.into(), valid: TASKS.join(", ") }),
    }
}

/// Tokens that a task uses; none for sources of text.
pub(super) fn vocabulary(task: &SourceSpec) -> Option<u32> {
    match task {
        SourceSpec::MultiQueryRecallSpec(spec) => Some(spec.vocabulary),
        SourceSpec::InductionSpec(spec) => Some(spec.vocabulary),
        SourceSpec::CopyingSpec(spec) => Some(spec.vocabulary),
        SourceSpec::SelectiveCopyingSpec(spec) => Some(spec.vocabulary),
        SourceSpec::Text(_) | SourceSpec::Needle(_) => None,
    }
}

/// Whether a task has sequences of `length` tokens.
pub(super) fn check(task: &SourceSpec, length: usize) -> Result<(), MixersError> {
    let slot = Slot { seed: 0, stage: 0, step: 0, index: 0, length };
    let sample = Mixture::open(std::slice::from_ref(task), &Codec::Bytes)
        .and_then(|data| data.documents(&slot, 0, &Codec::Bytes));
    let task = || headwise_spec::to_text(task);
    sample.map(drop).map_err(|source| MixersError::Length { task: task(), length, source })
}

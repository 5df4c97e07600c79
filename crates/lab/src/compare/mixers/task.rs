//! The tasks of a comparison: sources of training data that know the right answers.

use headwise_spec::Family;
use headwise_train::data::{Codec, Mixture, Slot, SourceSpec};

use super::MixersError;

/// Names of the tasks.
pub const TASKS: [&str; 13] = [
    "multi_query_recall",
    "key_value_recall",
    "induction",
    "copying",
    "selective_copying",
    "phone_book",
    "transliteration",
    "dyck",
    "list_ops",
    "byte_sentiment",
    "byte_retrieval",
    "shape_images",
    "pathfinder",
];

/// The task that `text` names, with parameters if it has any.
pub(super) fn parse(text: &str) -> Result<SourceSpec, MixersError> {
    let mut task: SourceSpec =
        headwise_spec::from_text(text).map_err(|source| MixersError::Task { task: text.into(), source })?;
    if !TASKS.contains(&task.name()) {
        return Err(MixersError::NoAnswers { task: text.into(), valid: TASKS.join(", ") });
    }
    match task.path() {
        None => Ok(task),
        Some(_) => Err(MixersError::Files { task: text.into() }),
    }
}

/// Whether a task has sequences of `length` tokens.
pub(super) fn check(task: &SourceSpec, length: usize) -> Result<(), MixersError> {
    let slot = Slot { seed: 0, stage: 0, step: 0, index: 0, length };
    let sample = Mixture::open(std::slice::from_ref(task), &Codec::Bytes)
        .and_then(|data| data.documents(&slot, 0, &Codec::Bytes));
    sample.map(drop).map_err(|source| MixersError::Length { task: headwise_spec::to_text(task), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sources_with_right_answers_are_tasks() {
        let sources = SourceSpec::names().into_iter().filter(|name| {
            let source: SourceSpec = headwise_spec::from_text(name).unwrap();
            // No answer of a Markov chain is sure.
            source.vocabulary().is_some() && *name != "markov"
        });
        assert_eq!(sources.collect::<Vec<_>>(), TASKS);
    }
}

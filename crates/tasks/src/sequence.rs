//! What a token task is: sequences of token ids in which some next tokens follow from earlier ones.

use std::ops::Range;

use crate::task::{TaskError, within};

/// One position at which a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenQuery {
    /// The model reads up to this slot, this one included, and predicts.
    pub position: usize,
    /// The right prediction.
    pub answer: u32,
    /// The one slot up to `position` that holds the answer, or what [`TokenTask::answer_of`] makes the answer from.
    pub source: usize,
}

/// A sequence and its queries, in the order of their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSample {
    /// The sequence.
    pub tokens: Vec<u32>,
    /// Where a model is asked and what is right.
    pub queries: Vec<TokenQuery>,
}

/// A seeded generator of token sequences, with a solver.
pub trait TokenTask: Sync {
    /// Name in result rows, e.g. `induction`.
    fn name(&self) -> &'static str;

    /// The sample of a seed; always the same.
    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError>;

    /// The answer that the token in a query's source slot stands for: itself, if the task does not say otherwise.
    fn answer_of(&self, source: u32) -> u32 {
        source
    }

    /// The answers, in the order of the queries, from nothing but the tokens and the task's parameters.
    fn solve(&self, tokens: &[u32]) -> Vec<u32>;
}

/// The token that followed the last one when it stood there before: what [`TokenTask::solve`] is for one pair.
pub(crate) fn follower(tokens: &[u32]) -> Option<u32> {
    let (last, before) = tokens.split_last()?;
    let first = before.iter().position(|token| token == last)?;
    before.get(first + 1).copied()
}

/// The roles that recall tasks give to the tokens of a vocabulary.
pub(crate) struct Roles {
    /// The first token: fills what is neither key nor value.
    pub(crate) filler: u32,
    /// The next half.
    pub(crate) keys: Range<u32>,
    /// The rest, as many as there are keys.
    pub(crate) values: Range<u32>,
}

impl Roles {
    /// The roles in `vocabulary`, which must have at least `2 keys + 1` tokens.
    pub(crate) fn of(task: &'static str, vocabulary: &Range<u32>, keys: usize) -> Result<Self, TaskError> {
        let least = keys.saturating_mul(2).saturating_add(1);
        within(task, "vocabulary", vocabulary.len(), least, u32::MAX as usize)?;
        Ok(Self::split(vocabulary))
    }

    /// The roles without a check; keys and values of a vocabulary below three tokens are empty.
    pub(crate) fn split(vocabulary: &Range<u32>) -> Self {
        let half = vocabulary.end.saturating_sub(vocabulary.start).saturating_sub(1) / 2;
        let first = vocabulary.start.saturating_add(1);
        let (middle, end) = (first.saturating_add(half), first.saturating_add(2 * half));
        Self { filler: vocabulary.start, keys: first..middle, values: middle..end }
    }
}

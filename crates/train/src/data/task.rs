//! Tasks as sources: sequences that are made as they are needed, and where they are asked.

use std::fmt::Debug;

use headwise_tasks::{ClassifyTask, LabelledSample, TaskError, TokenTask};
use rand::RngExt;

use super::permutation::Permutation;
use super::{Codec, DataError, Slot, Source, SourceMethod};
use crate::draws::{Purpose, draws};
use crate::objective::Document;

/// Makes the document of a slot.
type Make<T> = fn(&T, &Slot) -> Result<Document, TaskError>;

/// The document that was made for a slot.
fn at(slot: &Slot, made: Result<Document, TaskError>) -> Result<Vec<Document>, DataError> {
    made.map(|document| vec![document]).map_err(|source| DataError::Length { length: slot.length, source })
}

/// A source whose documents follow from `task` and the slot alone.
#[derive(Debug)]
struct Made<T> {
    task: T,
    make: Make<T>,
}

impl<T: Debug + Send + Sync> Source for Made<T> {
    fn documents(&self, slot: &Slot, _: u64, _: &Codec) -> Result<Vec<Document>, DataError> {
        at(slot, (self.make)(&self.task, slot))
    }
}

/// Opens a source whose documents follow from `task` and the slot alone.
pub(super) fn made<T: Clone + Debug + Send + Sync + 'static>(
    task: &T,
    make: Make<T>,
) -> Result<Box<dyn Source>, DataError> {
    Ok(Box::new(Made { task: task.clone(), make }))
}

/// Samples of which each comes once in an epoch, in an order of its own.
#[derive(Debug)]
struct Published<S> {
    samples: Vec<S>,
    make: Make<S>,
}

impl<S: Debug + Send + Sync> Source for Published<S> {
    fn documents(&self, slot: &Slot, index: u64, _: &Codec) -> Result<Vec<Document>, DataError> {
        let count = self.samples.len() as u64;
        let order = Permutation::new(count, slot.seed, slot.stage, index / count);
        at(slot, (self.make)(&self.samples[order.at(index % count) as usize], slot))
    }
}

/// Opens a source of samples, at least one, of which each comes once in an epoch.
pub(super) fn published<S: Debug + Send + Sync + 'static>(
    samples: Vec<S>,
    make: Make<S>,
) -> Result<Box<dyn Source>, DataError> {
    assert!(!samples.is_empty(), "readers give an error for files without samples");
    Ok(Box::new(Published { samples, make }))
}

/// The spec of a task whose tokens follow from earlier ones.
pub(super) trait TokenTaskSpec: Clone + Debug + Send + Sync + 'static {
    /// The task.
    type Task: TokenTask;

    /// Every token is below.
    fn vocabulary(&self) -> u32;

    /// The task with sequences of at most `length` tokens.
    fn task(&self, length: usize) -> Result<Self::Task, TaskError>;

    /// Fewest tokens of a sequence, if their lengths are random; none makes all as long as may be.
    fn shortest(&self) -> Option<usize> {
        None
    }
}

impl<S: TokenTaskSpec> SourceMethod for S {
    fn vocabulary(&self) -> Option<u32> {
        Some(TokenTaskSpec::vocabulary(self))
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        match self.shortest() {
            None => made(self, |spec, slot| answers(&spec.task(slot.length)?, seed(slot), slot.length)),
            Some(shortest) => Ok(Box::new(Varied { spec: self.clone(), shortest })),
        }
    }
}

/// A source of sequences of random lengths: as many as fit into a slot, one after the other.
#[derive(Debug)]
struct Varied<S> {
    spec: S,
    /// Fewest tokens of a sequence.
    shortest: usize,
}

impl<S: TokenTaskSpec> Source for Varied<S> {
    fn documents(&self, slot: &Slot, _: u64, _: &Codec) -> Result<Vec<Document>, DataError> {
        let mut draws = draws(slot.seed, Purpose::Document, slot.step, slot.index);
        let (mut documents, mut left) = (Vec::new(), slot.length);
        // A slot that is too short for a sequence is the task's to refuse.
        while documents.is_empty() || left >= self.shortest.max(1) {
            let length = if left > self.shortest { draws.random_range(self.shortest..=left) } else { left };
            let document = self.spec.task(length).and_then(|task| answers(&task, draws.random(), length));
            documents.push(document.map_err(|source| DataError::Length { length, source })?);
            left -= length;
        }
        Ok(documents)
    }
}

/// The seed of the sample in a slot.
pub(super) fn seed(slot: &Slot) -> u64 {
    draws(slot.seed, Purpose::Document, slot.step, slot.index).random()
}

/// The sequence of a seed, of at most `length` tokens, asked for where `task` asks.
fn answers(task: &impl TokenTask, seed: u64, length: usize) -> Result<Document, TaskError> {
    let sample = task.sample(seed)?;
    let mut document = silent(task.name(), sample.tokens, length)?;
    for query in sample.queries {
        document.answers[query.position] = query.answer;
        document.weights[query.position] = 1.0;
    }
    Ok(document)
}

/// A sequence of `task`, asked for its class after the last token.
pub(super) fn class(task: &impl ClassifyTask, slot: &Slot) -> Result<Document, TaskError> {
    labelled(task, task.sample(seed(slot))?, slot)
}

/// A sample of `task`, asked for its class after the last token: class `c` is token `c` after those of sequences.
pub(super) fn labelled(task: &impl ClassifyTask, sample: LabelledSample, slot: &Slot) -> Result<Document, TaskError> {
    let mut document = silent(task.name(), sample.tokens, slot.length)?;
    if let (Some(answer), Some(weight)) = (document.answers.last_mut(), document.weights.last_mut()) {
        (*answer, *weight) = ((task.vocabulary() + sample.label) as u32, 1.0);
    }
    Ok(document)
}

/// Tokens of sequences and classes.
pub(super) fn vocabulary(task: &impl ClassifyTask) -> Option<u32> {
    Some((task.vocabulary() + task.classes()) as u32)
}

/// Tokens about which nothing is asked.
fn silent(task: &'static str, ids: Vec<u32>, length: usize) -> Result<Document, TaskError> {
    let count = ids.len();
    match count <= length {
        true => Ok(Document { ids, answers: vec![0; count], weights: vec![0.0; count] }),
        false => Err(TaskError::TooShort { task, length, needed: count }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The answers that a document asks for.
    pub fn asked(document: &Document) -> Vec<u32> {
        let asked = document.answers.iter().zip(&document.weights).filter(|(_, weight)| **weight > 0.0);
        asked.map(|(&id, _)| id).collect()
    }

    /// Whether the documents of `spec` ask for what the solver answers, and nothing else.
    pub fn asks_what_is_solved(spec: &impl TokenTaskSpec, length: usize) {
        let task = spec.task(length).unwrap();
        let source = spec.open(&Codec::Bytes).unwrap();
        for index in 0..10 {
            let slot = Slot { seed: 4, stage: 0, step: 9, index, length };
            let [document] = source.documents(&slot, index, &Codec::Bytes).unwrap().try_into().unwrap();
            assert_eq!(asked(&document), task.solve(&document.ids), "{}", task.name());
        }
    }

    /// Whether the documents of `spec` ask, after their last token, for the class that the solver of `task` finds.
    pub fn asks_for_the_class(spec: &impl SourceMethod, task: &impl ClassifyTask, length: usize) {
        let source = spec.open(&Codec::Bytes).unwrap();
        for index in 0..10 {
            let slot = Slot { seed: 4, stage: 0, step: 9, index, length };
            let [document] = source.documents(&slot, index, &Codec::Bytes).unwrap().try_into().unwrap();
            let class = task.solve(&document.ids).unwrap() + task.vocabulary();
            assert_eq!(asked(&document), [class as u32], "{}", task.name());
            assert_eq!(document.weights.last(), Some(&1.0));
        }
    }
}

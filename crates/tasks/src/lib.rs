//! Seeded task generators, each with a solver.
//!
//! A *text task* ([`Task`]) makes prompts of a wanted number of tokens and knows the strings a right answer
//! contains; [`all`] lists them. A *token task* ([`TokenTask`]) makes sequences of token ids and knows which
//! token must follow where, and which earlier slot holds it. A *classification task* ([`ClassifyTask`]) makes sequences of
//! one class each: the Long Range Arena, with stand-ins for its data and, in [`labelled_files`], readers of it. Every task
//! has a solver that reads only the prompt and scores 100: a generator whose prompts cannot be answered fails its own
//! tests. A [`MarkovSource`] has no right answers but a least possible loss, its entropy rate.
//!
//! ```
//! use headwise_tasks::{Request, find};
//!
//! let count_words = |text: &str| text.split_whitespace().count();
//! let task = find("needle_single_2")?;
//! let sample = task.sample(&Request::new(2000, &count_words).seed(7).depth(0.5))?;
//!
//! let output = task.solve(&sample.prompt()); // or a language model's output
//! assert_eq!(sample.score(&output), 100.0);
//! # Ok::<(), headwise_tasks::TaskError>(())
//! ```
//!
//! To add a text task, copy `variable_tracking.rs` and add the task to [`all`]; for a token task, copy `induction.rs`,
//! for a classification task `list_ops.rs`, and add it to the list in `tests/laws.rs`. The tests there then hold for it too.

mod byte_retrieval;
mod byte_sentiment;
mod classify;
mod coloured_shapes;
mod common_words;
mod copying;
mod document_questions;
mod dyck;
mod fit;
mod frequent_words;
mod haystack;
mod induction;
mod key_value;
pub mod labelled_files;
mod list_ops;
mod markov;
mod multi_query_recall;
mod needle;
mod pathfinder;
mod phone_book;
mod random;
mod recall;
mod score;
mod sequence;
mod shapes;
mod task;
mod transliteration;
mod variable_tracking;
mod words;

pub use byte_retrieval::ByteRetrieval;
pub use byte_sentiment::ByteSentiment;
pub use classify::{ClassifyTask, LabelledSample};
pub use coloured_shapes::ColouredShapes;
pub use common_words::CommonWords;
pub use copying::{Copying, SelectiveCopying};
pub use document_questions::DocumentQuestions;
pub use dyck::Dyck;
pub use frequent_words::FrequentWords;
pub use haystack::Haystack;
pub use induction::Induction;
pub use key_value::{KeyKind, ValueKind};
pub use list_ops::ListOps;
pub use markov::MarkovSource;
pub use multi_query_recall::MultiQueryRecall;
pub use needle::NeedleTask;
pub use pathfinder::{Pathfinder, Picture, Point, Stroke};
pub use phone_book::PhoneBook;
pub use recall::KeyValueRecall;
pub use score::{median, string_match_all, wilson_interval};
pub use sequence::{TokenQuery, TokenSample, TokenTask};
pub use shapes::ShapeImages;
pub use task::{MAX_LENGTH, Request, Sample, Task, TaskError};
pub use transliteration::Transliteration;
pub use variable_tracking::VariableTracking;

/// A long prose text for perplexity and for haystacks: the State of the Union message of 16 January 1981
/// (public domain; see `assets/README.md`).
pub const DEFAULT_TEXT: &str = include_str!("../assets/state-of-the-union-1981.txt");

/// Every text task.
pub fn all() -> &'static [&'static dyn Task] {
    &[
        &NeedleTask::SINGLE_1,
        &NeedleTask::SINGLE_2,
        &NeedleTask::SINGLE_3,
        &NeedleTask::MULTIKEY_1,
        &NeedleTask::MULTIKEY_2,
        &NeedleTask::MULTIKEY_3,
        &NeedleTask::MULTIVALUE,
        &NeedleTask::MULTIQUERY,
        &VariableTracking,
        &CommonWords,
        &FrequentWords,
        &DocumentQuestions::ONE_HOP,
        &DocumentQuestions::TWO_HOPS,
    ]
}

/// The text task called `name`; the error lists the names there are.
pub fn find(name: &str) -> Result<&'static dyn Task, TaskError> {
    let found = all().iter().find(|task| task.name() == name);
    found.copied().ok_or_else(|| {
        let valid: Vec<_> = all().iter().map(|task| task.name()).collect();
        TaskError::Unknown { name: name.into(), valid: valid.join(", ") }
    })
}

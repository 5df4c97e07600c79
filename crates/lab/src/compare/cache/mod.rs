//! Key-value cache policies side by side on one language model: recall, perplexity, speed and bytes.
//!
//! A [`CacheComparison`] says what is wanted. [`CacheComparison::plan`] checks all of it against the model before anything
//! runs and estimates the time; [`Plan::run`] does the work and returns the [rows](crate::rows::CacheRow).
//!
//! - *Recall* (`recall.rs`): prompts of [`headwise_tasks`] at several depths. In the `agnostic` setting the prompt ends
//!   with the context, the policy compresses, and the question follows as the next chunk of text; in the `aware` setting
//!   the question is part of the prompt. Answers are greedy and scored by the strings they contain. Policies that wait for
//!   the end of the prompt share its prefill ([`headwise_engine::SharedPrefill`]), which changes no bit of their answers.
//! - *Perplexity* (`perplexity.rs`): a context of prose is compressed, then known tokens follow one by one, each
//!   predicted with the policy active. Intervals come from a bootstrap paired with the full cache.
//! - *Speed* (`speed.rs`): every policy alone, in turns with the full cache.
//!
//! Without a language model the [hand-built induction model](headwise_models::decoder::Induction) takes its place
//! ([`Subject::Toy`]): it has exact answers and needs no tokenizer.

mod answer;
mod bootstrap;
mod cost;
mod error;
mod perplexity;
mod plan;
mod policies;
mod progress;
mod prompt;
mod reader;
mod recall;
mod run;
mod size;
mod speed;
mod subject;
mod suite;

pub use super::Moment;
pub use error::CompareError;
pub use plan::{CacheComparison, Item, Plan, Work};
pub use policies::{CODECS, COMPOSITION, EVICTING};
pub use progress::{Answer, Progress, Silent};
pub use prompt::Task;
pub use subject::{Subject, TOY_NOTE, toy_engine};
pub use suite::Suite;

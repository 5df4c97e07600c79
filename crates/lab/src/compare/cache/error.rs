//! What can be wrong with a comparison; all of it is found before anything runs, except a failing model.

use headwise_engine::cache::PolicyError;
use headwise_engine::{EngineError, TextError};
use headwise_tasks::TaskError;

/// Why a comparison cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// No suite has this name.
    #[error("unknown suite `{name}`; the suites are {valid}")]
    UnknownSuite {
        /// The name asked for.
        name: String,
        /// The names there are.
        valid: String,
    },
    /// The suite is for another kind of model.
    #[error("suite `{suite}` does not run on {model}: {reason}")]
    WrongSuite {
        /// The suite.
        suite: &'static str,
        /// The model's name.
        model: String,
        /// What to do instead.
        reason: &'static str,
    },
    /// A cache policy is wrong.
    #[error("--cache {cache}: {source}")]
    Policy {
        /// The policy as it was given.
        cache: String,
        /// What is wrong with it.
        source: PolicyError,
    },
    /// A share of zero, above one, or none at all.
    #[error("--keep {keep} is not a share of the pairs: give numbers above 0 and at most 1, for example 0.25,0.1")]
    Keep {
        /// The share asked for.
        keep: f64,
    },
    /// No samples.
    #[error("samples = 0 measures nothing: it must be at least 1")]
    NoSamples,
    /// A length that the model cannot read.
    #[error(
        "length {length} is above the context of {model}, {context} tokens: choose lengths up to {context}, or raise the context"
    )]
    AboveContext {
        /// The length asked for.
        length: usize,
        /// Tokens the model reads.
        context: usize,
        /// The model's name.
        model: String,
    },
    /// A length with no room for context, question and answer.
    #[error("length {length} is too short: it must be at least {least}")]
    TooShort {
        /// The length asked for.
        length: usize,
        /// The least length.
        least: usize,
    },
    /// The text ends before the scored tokens.
    #[error(
        "the text has {tokens} tokens, but perplexity after {length} tokens of context needs {needed}: give a longer text or shorter lengths"
    )]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of context.
        length: usize,
        /// Tokens needed.
        needed: usize,
    },
    /// The chat template did not leave the user's turn as it is.
    #[error(
        "the chat template of {model} changes the user's text, so the end of the context cannot be found in the prompt"
    )]
    TemplateChangesText {
        /// The model's name.
        model: String,
    },
    /// A task cannot be generated.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The text cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

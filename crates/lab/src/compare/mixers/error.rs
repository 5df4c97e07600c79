//! What can be wrong with a comparison of mixers; all of it is found before anything runs, except a run that diverges.

use headwise_models::decoder;
use headwise_train::data::DataError;
use headwise_train::trainer::TrainError;

/// Why mixers cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MixersError {
    /// A mixer is wrong.
    #[error("--mixer {mixer}: {source}")]
    Mixer {
        /// The mixer as it was given.
        mixer: String,
        /// What is wrong with it.
        source: headwise_spec::Error,
    },
    /// A mixer does not fit the decoder.
    #[error("--mixer {mixer} with --dim {dim}: {source}")]
    Model {
        /// The mixer.
        mixer: String,
        /// Channels of the decoder.
        dim: usize,
        /// What is wrong.
        source: decoder::SpecError,
    },
    /// A mixer that is larger than a whole layer should be.
    #[error(
        "--mixer {mixer}: with the narrowest channel layer the decoder has {found} parameters, and {wanted} are to be equal for all: \
         make the mixer smaller, or raise --dim"
    )]
    TooLarge {
        /// The mixer.
        mixer: String,
        /// Least parameters of the decoder.
        found: usize,
        /// Parameters that every decoder should have.
        wanted: usize,
    },
    /// A task is wrong.
    #[error("--task {task}: {source}")]
    Task {
        /// The task as it was given.
        task: String,
        /// What is wrong with it.
        source: headwise_spec::Error,
    },
    /// A source of text, which has no right answers.
    #[error("--task {task} has no right answers to count; the tasks are {valid}")]
    NoAnswers {
        /// The task as it was given.
        task: String,
        /// The tasks there are.
        valid: String,
    },
    /// A task that reads files, whose sequences could be both learnt and tested.
    #[error(
        "--task {task} would be tested on the files that it learns from: give it without `path`, or see `headwise train`"
    )]
    Files {
        /// The task as it was given.
        task: String,
    },
    /// A task has no sequences of a length.
    #[error("{task} {source}")]
    Length {
        /// The task.
        task: String,
        /// Why.
        source: DataError,
    },
    /// A number that must be at least one.
    #[error("{option} is 0: it must be at least 1")]
    Zero {
        /// The option of the command line.
        option: &'static str,
    },
    /// A run failed.
    #[error("{mixer} on {task} with seed {seed}: {source}")]
    Run {
        /// The mixer.
        mixer: String,
        /// The task.
        task: String,
        /// The seed.
        seed: u64,
        /// Why.
        source: Box<TrainError>,
    },
}

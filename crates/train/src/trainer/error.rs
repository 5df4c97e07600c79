//! Why a run stops.

use headwise_models::decoder;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] decoder::SpecError),
    /// There is nothing to learn from.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run cannot be saved, or go on.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A token beyond the vocabulary.
    #[error("the data has token {id}, the model a vocabulary of {vocabulary}: raise `model.vocabulary`")]
    Vocabulary {
        /// The token.
        id: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// Fewer sequences than processes, devices and parts.
    #[error(
        "`stages`: {sequences} sequences of a step cannot be shared by {processes} processes on {devices} devices with {parts} parts \
         each: raise `sequences` to {} or more, or take fewer of them", parts * devices * processes
    )]
    Shares {
        /// Sequences of a step.
        sequences: u64,
        /// Parts of a step on each device.
        parts: usize,
        /// Devices of each process.
        devices: usize,
        /// Processes.
        processes: usize,
    },
    /// The model cannot learn the objective.
    #[error("`objective`: {0}")]
    Objective(String),
    /// The model cannot start from such weights.
    #[error("`model.start`: {0}")]
    Start(String),
    /// There is no such teacher, or it cannot teach the model.
    #[error("`distil`: {0}")]
    Teacher(String),
    /// The model has no parts that could be trained.
    #[error("`supernet`: {0}")]
    Supernet(String),
    /// The model's layers cannot be held like that.
    #[error("`restraint`: {0}")]
    Restraint(String),
    /// The texts held out have nothing to predict.
    #[error("`evaluation` has nothing to predict: its sequences are too short, or no token has a weight")]
    NothingHeldOut,
    /// The loss of the texts held out is no finite number.
    #[error("step {step}: the loss of the texts held out is {loss}; lower the learning rate, or set `clip`")]
    HeldOut {
        /// Steps done.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// A step without anything to predict.
    #[error("step {step} has nothing to predict: the sequences are too short, or no token has a weight")]
    NothingToPredict {
        /// The step, counted from 1.
        step: u64,
    },
    /// The loss or a gradient is no finite number.
    #[error(
        "step {step}: the loss is {loss} and the norm of the gradients {norm}; the first parameter with a number that is not finite is \
         {parameter}. The weights before this step are kept; lower the learning rate, or set `clip`"
    )]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The norm of all gradients.
        norm: f64,
        /// The path of a parameter.
        parameter: String,
    },
    /// A step made weights that are no finite numbers.
    #[error(
        "step {step}: {parameter} has a number that is not finite, or too large to go on with; the checkpoints before this step are \
         kept; lower the learning rate, or set `clip`"
    )]
    Weights {
        /// The step, counted from 1.
        step: u64,
        /// The path of a parameter.
        parameter: String,
    },
    /// Burn cannot write or read weights.
    #[error("cannot {what}: {reason}")]
    Record {
        /// What failed.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

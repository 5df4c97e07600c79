//! What a run tells, and whom.

use std::path::Path;
use std::time::Duration;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The mean loss, in nats.
    pub loss: f64,
    /// The norm of all gradients before clipping.
    pub norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens shown.
    pub tokens: u64,
    /// How long it took.
    pub time: Duration,
}

/// How well a model predicts texts that it does not learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// The mean loss, in nats.
    pub loss: f64,
    /// Share of the targets whose token was the likeliest.
    pub accuracy: f64,
    /// Bits that a byte of text takes, if the tokens are those of a text and each is predicted.
    pub bits_per_byte: Option<f64>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Done,
    /// The observer stopped it.
    Stopped,
    /// Evaluations became no better: the model is that of the best one.
    Patience,
}

/// Who is told what a run does.
pub trait Observer {
    /// A step is done.
    fn step(&mut self, report: &StepReport);
    /// An evaluation is done.
    fn evaluation(&mut self, evaluation: &Evaluation);
    /// A checkpoint is written.
    fn checkpoint(&mut self, path: &Path);
    /// Whether the run should be saved and left.
    fn stop(&self) -> bool;
}

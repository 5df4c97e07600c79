//! One measurement of one mixer.

use serde::{Deserialize, Serialize};

/// A decoder with one mixer, trained with one seed, tested at one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MixerRow {
    /// Canonical text of the mixer.
    pub mixer: String,
    /// Canonical text of the task.
    pub task: String,
    /// Tokens of a sequence in training.
    pub length: usize,
    /// Tokens of a sequence in this test.
    pub test_length: usize,
    /// Answers that were right, 0–100.
    pub accuracy: f64,
    /// Mean negative log-likelihood of the right answers, in nats.
    pub loss: f64,
    /// Answers that were tested.
    pub n: u64,
    /// Parameters of the decoder.
    pub parameters: usize,
    /// Inner width of the decoder's channel layers, chosen for equal parameters.
    pub hidden: usize,
    /// Bytes that the decoder keeps of a text of the tested length; see [`super::Subject::state_bytes`].
    pub state_bytes: u64,
    /// Tokens trained on per second, the median over the steps.
    pub train_tok_s: f64,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Seed of the weights and the sequences.
    pub seed: u64,
    /// The loss over the run; `null` in all rows of a run but the one that is tested at the length of training.
    pub curve: Option<Vec<CurvePoint>>,
    /// Version of the program.
    pub version: String,
}

/// A point of a loss curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps done.
    pub step: u64,
    /// Mean training loss since the point before, in nats.
    pub loss: f64,
}

//! What one way to hold experts found, loaded and cost.

use serde::{Deserialize, Serialize};

/// The policy of a model that is in memory as a whole.
pub const WHOLE: &str = "whole";

/// What one way to hold experts found, loaded and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertsRow {
    /// Canonical text of the policy; [`WHOLE`] stands for all experts in memory.
    pub policy: String,
    /// Name of the model.
    pub model: String,
    /// Experts that were in memory when a layer began, of those that it needed, 0–100; `null` if nothing was needed.
    pub hits_pct: Option<f64>,
    /// The same for every layer with a mixture; the first has no lead time.
    pub layer_hits_pct: Vec<f64>,
    /// Experts that were on their way then, 0–100.
    pub late_pct: f64,
    /// Experts that were read because a layer waited.
    pub loads_on_demand: u64,
    /// Experts that were read ahead.
    pub loads_ahead: u64,
    /// Bytes that experts may take.
    pub capacity_bytes: u64,
    /// The most bytes that they have taken.
    pub peak_bytes: u64,
    /// Bytes of all experts.
    pub total_bytes: u64,
    /// Tokens read per second, all texts together.
    pub tok_s: f64,
    /// By which every load was slowed down, in milliseconds.
    pub delay_ms: f64,
    /// Texts of a batch.
    pub batch: usize,
    /// Tokens read of each text after its prompt.
    pub tokens: usize,
    /// Whether all scores had the bits of the whole model's.
    pub same_bits: bool,
    /// Seed of the model, if it was trained for the comparison.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}

impl ExpertsRow {
    /// Experts read for a token, in the mean.
    pub fn loads_per_token(&self) -> f64 {
        (self.loads_on_demand + self.loads_ahead) as f64 / (2 * self.batch * self.tokens).max(1) as f64
    }
}

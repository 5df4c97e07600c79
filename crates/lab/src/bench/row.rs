//! The rows a benchmark writes.

use serde::{Deserialize, Serialize};

use super::{Peaks, Times};
use crate::profile::{self, ProfileRow};
use crate::rows::Envelope;

/// What was measured; what does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Sides joined by `x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Texts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<usize>,
    /// Tokens of the prompt, or of each of the prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Key-value heads, where they are fewer than heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Storage of the inputs, the weights or the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// `forward`, `backward` or `train` (forward with backward), of operators that are measured in more than one; `composed` after it
    /// says that Burn's own operations are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Policy of the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Threads used.
    pub threads: usize,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// Name of the benchmark.
    pub name: String,
    /// What was measured.
    pub params: Params,
    /// Median time of a call in milliseconds.
    pub median_ms: f64,
    /// Time of the fastest call.
    pub min_ms: f64,
    /// Time of the slowest call.
    pub max_ms: f64,
    /// 10⁹ operations per second at the median, where operations are counted.
    pub gflops: Option<f64>,
    /// 10⁹ bytes per second at the median, where bytes are counted.
    pub gbs: Option<f64>,
    /// MiB that were resident at the peak, less those before anything of the benchmark was made; absent where not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<f64>,
    /// Where the time of all timed calls went; absent unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<ProfileRow>>,
}

impl BenchRow {
    /// A row of `times`, each for `flops` operations and `bytes` bytes.
    pub(super) fn new(name: &str, params: Params, times: Times, flops: Option<f64>, bytes: Option<f64>) -> Self {
        // In a millisecond, 10⁶ of anything are 10⁹ a second.
        let rate = |work: f64| work / times.median / 1e6;
        Self {
            name: name.to_owned(),
            params,
            median_ms: times.median,
            min_ms: times.min,
            max_ms: times.max,
            gflops: flops.map(rate).filter(|rate| rate.is_finite()),
            gbs: bytes.map(rate).filter(|rate| rate.is_finite()),
            peak_mib: None,
            profile: times.profile.as_ref().map(profile::rows),
        }
    }

    /// Tokens a second of a row that counts tokens: those of the prompt for `prefill`, one for `decode`, one of every text for `decode_batch`.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = match self.name.as_str() {
            "decode" | "decode_batch" => self.params.tokens.map(|_| self.params.texts.unwrap_or(1))?,
            _ => self.params.tokens?,
        };
        Some(tokens as f64 / self.median_ms * 1e3)
    }
}

/// All rows, how and where they were measured, and what the machine can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// The envelope of every command, with the rows.
    #[serde(flatten)]
    pub envelope: Envelope<BenchRow>,
    /// The machine's limits, measured in the same run.
    pub peaks: Peaks,
    /// Load of the machine in the minute before, where the system tells it: above a few tenths, other work disturbs.
    pub load: Option<f64>,
}

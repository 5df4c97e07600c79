//! The rows a comparison writes, and the envelope every command puts around its rows.
//!
//! One [`CacheRow`] per policy, task, setting, length, depth and seed. Fields that do not apply are `null`, never
//! left out, so that a reader sees the same columns in every row. [`summary`] folds rows into one entry per policy,
//! which is what the terminal table and the report show.

pub mod interval;
pub mod machine;
pub mod measure;
pub mod quantity;
pub mod summary;

use serde::{Deserialize, Serialize};

pub use machine::Machine;

/// The name of the baseline every other policy is compared with.
pub const FULL: &str = "full";

/// A retrieval score of the full cache below this (0–100) makes the comparison inconclusive: where the model itself
/// cannot do the task, a policy that does not do it either has lost nothing.
pub const GATE: f64 = 60.0;

/// What a command prints as JSON: its rows, and how and where they came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<R> {
    /// Version of the program that wrote the rows.
    pub version: String,
    /// The machine they were measured on.
    pub machine: Machine,
    /// The command that makes these rows again.
    pub command: String,
    /// The rows, in the order they were measured.
    pub rows: Vec<R>,
}

/// What a row's `score` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of the expected answers found, 0–100; more is better.
    Recall,
    /// Perplexity; less is better.
    Ppl,
}

/// What the policy knows of the question when it compresses the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// The context is compressed first, the question comes after.
    Agnostic,
    /// The whole prompt, question included, is compressed.
    Aware,
}

impl Setting {
    /// The name used in JSON, tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agnostic => "agnostic",
            Self::Aware => "aware",
        }
    }
}

/// One measurement of one cache policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheRow {
    /// Canonical text of the policy.
    pub policy: String,
    /// Name of the model.
    pub model: String,
    /// `needle_single_1`, …, `perplexity` or `speed`.
    pub task: String,
    /// What the policy knew of the question (retrieval tasks).
    pub setting: Option<Setting>,
    /// Tokens of context: the length asked for, the same for every depth and policy, because rows are grouped by it.
    #[serde(rename = "T")]
    pub t: usize,
    /// Where the needle was, in percent of the context (0 = first token).
    pub depth: Option<f64>,
    /// Share of the key-value pairs removed, 0–1; `null` if none.
    pub ratio: Option<f64>,
    /// What `score` is.
    pub metric: Option<Metric>,
    /// The policy's score.
    pub score: Option<f64>,
    /// The full cache's score on the same inputs.
    pub full_score: Option<f64>,
    /// `score − full_score`; `null` where the full cache misses the [`GATE`].
    pub delta: Option<f64>,
    /// 95 % interval of `score`: Wilson for recall; for perplexity from a bootstrap paired with the full cache.
    pub ci95: Option<[f64; 2]>,
    /// Expected answers (recall) or tokens (perplexity) scored.
    pub n: Option<u64>,
    /// Bytes the cache holds after the prompt.
    pub kv_bytes: Option<u64>,
    /// Most bytes the cache held at any time, prefill included.
    pub peak_kv_bytes: Option<u64>,
    /// `kv_bytes` in percent of `full` stored in f16 at the same length.
    pub kv_pct: Option<f64>,
    /// Pairs that decoded tokens read, in percent of those held, where a policy chooses them.
    pub read_pct: Option<f64>,
    /// Prompt tokens read per second.
    pub prefill_tok_s: Option<f64>,
    /// Tokens decoded per second.
    pub tok_s: Option<f64>,
    /// Tokens the full cache decoded per second, interleaved with this policy.
    pub full_tok_s: Option<f64>,
    /// Median time of a decoded token in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the time of a decoded token in milliseconds.
    pub p95_ms: Option<f64>,
    /// Processor time of the prompt in seconds, all threads together.
    #[serde(default)]
    pub prefill_cpu_s: Option<f64>,
    /// Processor time of a decoded token in milliseconds, all threads together: the mean of a run, the median of the runs.
    #[serde(default)]
    pub cpu_ms: Option<f64>,
    /// Seed of the task.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}

impl CacheRow {
    /// A row that says what was run and has no measurement yet.
    pub fn new(policy: &str, model: &str, task: &str, t: usize, seed: u64) -> Self {
        Self {
            policy: policy.to_owned(),
            model: model.to_owned(),
            task: task.to_owned(),
            setting: None,
            t,
            depth: None,
            ratio: None,
            metric: None,
            score: None,
            full_score: None,
            delta: None,
            ci95: None,
            n: None,
            kv_bytes: None,
            peak_kv_bytes: None,
            kv_pct: None,
            read_pct: None,
            prefill_tok_s: None,
            tok_s: None,
            full_tok_s: None,
            p50_ms: None,
            p95_ms: None,
            prefill_cpu_s: None,
            cpu_ms: None,
            seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Fills in a retrieval score (0–100, of `n` expected answers), its Wilson interval, and its difference to the
    /// full cache if that passes the [`GATE`].
    pub fn with_recall(mut self, setting: Setting, score: f64, full_score: f64, n: u64) -> Self {
        self.setting = Some(setting);
        self.metric = Some(Metric::Recall);
        self.score = Some(score);
        self.full_score = Some(full_score);
        self.delta = (full_score >= GATE).then_some(score - full_score);
        self.ci95 = Some(interval::wilson(score, n));
        self.n = Some(n);
        self
    }

    /// Fills in a perplexity over `n` tokens. `delta_nll` is the 95 % interval of the mean difference to the full
    /// cache in nats per token (paired bootstrap); it becomes an interval of the score.
    pub fn with_perplexity(mut self, score: f64, full_score: f64, delta_nll: Option<[f64; 2]>, n: u64) -> Self {
        self.metric = Some(Metric::Ppl);
        self.score = Some(score);
        self.full_score = Some(full_score);
        self.delta = Some(score - full_score);
        self.ci95 = delta_nll.map(|bounds| bounds.map(|nats| full_score * nats.exp()));
        self.n = Some(n);
        self
    }

    /// Whether this is a row of the baseline.
    pub fn is_full(&self) -> bool {
        self.policy == FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 26] = [
        "policy",
        "model",
        "task",
        "setting",
        "T",
        "depth",
        "ratio",
        "metric",
        "score",
        "full_score",
        "delta",
        "ci95",
        "n",
        "kv_bytes",
        "peak_kv_bytes",
        "kv_pct",
        "read_pct",
        "prefill_tok_s",
        "tok_s",
        "full_tok_s",
        "p50_ms",
        "p95_ms",
        "prefill_cpu_s",
        "cpu_ms",
        "seed",
        "version",
    ];

    #[test]
    fn json_has_every_field_and_null_where_absent() {
        let row = CacheRow::new("tova(keep=0.1)", "toy", "speed", 512, 7);
        let json = serde_json::to_value(&row).expect("a row serialises");
        let object = json.as_object().expect("a row is an object");
        assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), FIELDS);
        let set: Vec<_> = object.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).collect();
        assert_eq!(set, ["policy", "model", "task", "T", "seed", "version"]);
        assert_eq!(json["T"], 512);
        let back: CacheRow = serde_json::from_value(json).expect("a row reads back");
        assert_eq!(back, row);
    }

    #[test]
    fn names_in_json_are_lower_case() {
        let recall =
            CacheRow::new("full", "toy", "needle_single_1", 512, 0).with_recall(Setting::Agnostic, 80.0, 100.0, 5);
        let json = serde_json::to_value(&recall).expect("a row serialises");
        assert_eq!((json["setting"].as_str(), json["metric"].as_str()), (Some("agnostic"), Some("recall")));
        assert_eq!(json["delta"], -20.0);
        assert_eq!(json["ci95"].as_array().map(Vec::len), Some(2));
        let ppl = CacheRow::new("full", "toy", "perplexity", 512, 0).with_perplexity(12.0, 10.0, None, 128);
        assert_eq!(serde_json::to_value(&ppl).expect("a row serialises")["metric"], "ppl");
    }

    #[test]
    fn envelope_has_the_four_fields_in_order() {
        let envelope = Envelope::<CacheRow> {
            version: "0.1.0".into(),
            machine: Machine::detect(2, "avx512"),
            command: "headwise compare cache".into(),
            rows: Vec::new(),
        };
        let json = serde_json::to_value(&envelope).expect("an envelope serialises");
        let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["version", "machine", "command", "rows"]);
    }

    #[test]
    fn delta_is_null_where_the_full_cache_misses_the_gate() {
        let row = |full| CacheRow::new("tova", "toy", "vt", 512, 0).with_recall(Setting::Aware, 40.0, full, 5);
        assert_eq!(row(59.9).delta, None);
        assert_eq!(row(60.0).delta, Some(-20.0));
        assert_eq!(row(59.9).score, Some(40.0));
    }

    #[test]
    fn perplexity_interval_is_of_the_score() {
        let row = CacheRow::new("tova", "toy", "perplexity", 512, 0).with_perplexity(11.0, 10.0, Some([0.0, 0.2]), 128);
        let [low, high] = row.ci95.expect("an interval");
        assert!((low - 10.0).abs() < 1e-12 && (high - 10.0 * 0.2f64.exp()).abs() < 1e-12);
    }
}

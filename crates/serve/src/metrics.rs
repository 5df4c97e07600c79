//! What is counted, in the text form of Prometheus.

use std::fmt::Write;
use std::time::Duration;

use headwise_engine::schedule::Counters;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counts of a server. Those of the scheduler are added when they are asked for.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    first_token: Histogram,
    between_tokens: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("headwise");
        let requests = Family::<Answered, Counter>::default();
        let first_token = Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let between_tokens = Histogram::new(exponential_buckets(0.002, 1.6, 18));
        registry.register("requests", "Requests that were answered", requests.clone());
        let text = "Seconds from a request to the end of its prompt";
        registry.register("time_to_first_token_seconds", text, first_token.clone());
        registry.register("inter_token_seconds", "Seconds between tokens of a request", between_tokens.clone());
        Self { registry, requests, first_token, between_tokens }
    }
}

impl Metrics {
    /// A request for `path` was answered.
    pub fn answered(&self, path: &str, status: u16) {
        self.requests.get_or_create(&Answered { path: path.into(), status: status.into() }).inc();
    }

    /// A prompt has been read.
    pub fn read(&self, since_asked: Duration) {
        self.first_token.observe(since_asked.as_secs_f64());
    }

    /// A token has come.
    pub fn token(&self, since_last: Duration) {
        self.between_tokens.observe(since_last.as_secs_f64());
    }

    /// Everything, as text.
    pub fn text(&self, counters: &Counters) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        let end = text.trim_end().strip_suffix("# EOF").map_or(text.len(), str::len);
        text.truncate(end);
        for (name, help, value) in gauges(counters) {
            let _ =
                write!(text, "# HELP headwise_{name} {help}.\n# TYPE headwise_{name} gauge\nheadwise_{name} {value}\n");
        }
        for (name, help, value) in totals(counters) {
            let _ = write!(
                text,
                "# HELP headwise_{name} {help}.\n# TYPE headwise_{name} counter\nheadwise_{name}_total {value}\n"
            );
        }
        text + "# EOF\n"
    }
}

fn gauges(counters: &Counters) -> [(&'static str, &'static str, usize); 7] {
    [
        ("requests_waiting", "Requests that wait", counters.waiting),
        ("texts_reading", "Texts whose prompt is being read", counters.reading),
        ("texts_writing", "Texts that are being written", counters.writing),
        ("kv_bytes", "Bytes of the caches of all texts", counters.text_bytes),
        ("prefix_cache_bytes", "Bytes of earlier prompts", counters.prefix_bytes),
        ("prefix_cache_nodes", "Earlier prompts that are kept", counters.prefix_nodes),
        ("shared_text_bytes", "Bytes of what is known of shared texts", counters.shared_bytes),
    ]
}

fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 10] {
    [
        ("steps", "Forwards of the model", counters.steps),
        ("prompt_tokens", "Tokens of prompts that were read", counters.prompt_tokens),
        ("cached_tokens", "Tokens of prompts that were there already", counters.cached_tokens),
        ("estimated_tokens", "Tokens of prompts whose keys and values were estimated", counters.estimated_tokens),
        ("shared_text_prompts", "Prompts with shared texts that were begun", counters.shared_prompts),
        ("generated_tokens", "Tokens that were written", counters.written_tokens),
        ("prefix_cache_lookups", "Requests whose beginning was looked for", counters.prefix_lookups),
        ("prefix_cache_hits", "Requests whose beginning was found", counters.prefix_hits),
        ("preemptions", "Texts that had to make room", counters.preemptions),
        ("cancelled", "Texts that nobody waited for any more", counters.cancelled),
    ]
}

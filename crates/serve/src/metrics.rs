//! What is counted, in the text form of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use headwise_engine::cache::CacheMethod;
use headwise_engine::schedule::Counters;
use headwise_spec::Family as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::worker::Published;

/// Counts of a server. Those of the schedulers are added when they are asked for.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    policies: Policies,
    by_model: Option<[Family<Named, Histogram>; 2]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

/// What cache policies were used for. Methods are counted one by one, since requests can combine them as they like.
#[derive(Clone, Default)]
struct Policies {
    answers: Family<Method, Counter>,
    evicted: Counter,
    evicted_by: Family<Method, Counter>,
}

/// How long the requests of one model took, and under which policies they were answered.
#[derive(Clone)]
pub struct Times {
    policies: Policies,
    first_token: Histogram,
    between_tokens: Histogram,
}

/// Names of the histograms and what they are.
const FIRST: (&str, &str) = ("time_to_first_token_seconds", "Seconds from a request to the end of its prompt");
const BETWEEN: (&str, &str) = ("inter_token_seconds", "Seconds between tokens of a request");

fn first_token() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

fn between_tokens() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 1.6, 18))
}

impl Metrics {
    /// Of a server with one model, or with `several`, whose counts then name them.
    pub fn new(several: bool) -> Self {
        let mut registry = Registry::with_prefix("headwise");
        let requests = Family::<Answered, Counter>::default();
        registry.register("requests", "Requests that were answered", requests.clone());
        let policies = Policies::default();
        let help = "Answers whose cache policy had a method";
        registry.register("answers", help, policies.answers.clone());
        let help = "Tokens that policies have let go, of every answer the mean over layers and heads";
        registry.register("evicted_tokens", help, policies.evicted.clone());
        let help = "The same of answers whose policy had a method that lets go of tokens; two of them in one policy count both";
        registry.register("method_evicted_tokens", help, policies.evicted_by.clone());
        let by_model = several.then(|| {
            let families =
                [Family::new_with_constructor(first_token as fn() -> _), Family::new_with_constructor(between_tokens)];
            for (family, (name, help)) in families.iter().zip([FIRST, BETWEEN]) {
                registry.register(name, help, family.clone());
            }
            families
        });
        Self { registry, requests, policies, by_model }
    }

    /// Where times of `model` are counted.
    pub fn times(&mut self, model: &str) -> Times {
        if let Some([first, between]) = &self.by_model {
            let named = Named { model: model.into() };
            let (first, between) = (first.get_or_create(&named).clone(), between.get_or_create(&named).clone());
            return Times { policies: self.policies.clone(), first_token: first, between_tokens: between };
        }
        let (first_token, between_tokens) = (first_token(), between_tokens());
        let times = Times { policies: self.policies.clone(), first_token, between_tokens };
        self.registry.register(FIRST.0, FIRST.1, times.first_token.clone());
        self.registry.register(BETWEEN.0, BETWEEN.1, times.between_tokens.clone());
        times
    }

    /// A request for `path` was answered.
    pub fn answered(&self, path: &str, status: u16) {
        self.requests.get_or_create(&Answered { path: path.into(), status: status.into() }).inc();
    }

    /// Everything, as text; `models` are their names and what their schedulers say.
    pub fn text(&self, models: &[(&str, Published)]) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        let end = text.trim_end().strip_suffix("# EOF").map_or(text.len(), str::len);
        text.truncate(end);
        let Some((_, first)) = models.first() else { return text + "# EOF\n" };
        let label = |model: &str| match self.by_model {
            None => String::new(),
            Some(_) => format!("{{model=\"{}\"}}", escaped(model)),
        };
        for (row, (name, help, _)) in gauges(&first.counters).into_iter().enumerate() {
            let _ = write!(text, "# HELP headwise_{name} {help}.\n# TYPE headwise_{name} gauge\n");
            for (model, Published { counters, .. }) in models {
                let _ = writeln!(text, "headwise_{name}{} {}", label(model), gauges(counters)[row].2);
            }
        }
        for (row, (name, help, _)) in totals(&first.counters).into_iter().enumerate() {
            let _ = write!(text, "# HELP headwise_{name} {help}.\n# TYPE headwise_{name} counter\n");
            for (model, Published { counters, .. }) in models {
                let _ = writeln!(text, "headwise_{name}_total{} {}", label(model), totals(counters)[row].2);
            }
        }
        self.write_caches(&mut text, models);
        text + "# EOF\n"
    }

    /// Writes the bytes of caches by the methods of their policies.
    fn write_caches(&self, text: &mut String, models: &[(&str, Published)]) {
        text.push_str("# HELP headwise_method_kv_bytes Bytes of the caches of texts whose policy has a method.\n");
        text.push_str("# TYPE headwise_method_kv_bytes gauge\n");
        for (model, Published { caches, .. }) in models {
            let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
            for (policy, bytes) in caches {
                for method in headwise_spec::from_chain_text::<CacheMethod>(policy).unwrap_or_default() {
                    *methods.entry(method.name()).or_default() += bytes;
                }
            }
            let model = match self.by_model {
                None => String::new(),
                Some(_) => format!("model=\"{}\",", escaped(model)),
            };
            for (method, bytes) in methods {
                let _ = writeln!(text, "headwise_method_kv_bytes{{{model}method=\"{method}\"}} {bytes}");
            }
        }
    }
}

impl Times {
    /// A prompt has been read.
    pub fn read(&self, since_asked: Duration) {
        self.first_token.observe(since_asked.as_secs_f64());
    }

    /// A token has come.
    pub fn token(&self, since_last: Duration) {
        self.between_tokens.observe(since_last.as_secs_f64());
    }

    /// An answer under a policy of `methods` is complete, which has let go of so many tokens.
    pub fn answer(&self, methods: &[CacheMethod], evicted: u64) {
        for method in methods {
            let named = Method { method: method.name() };
            self.policies.answers.get_or_create(&named).inc();
            if method.lets_go() {
                self.policies.evicted_by.get_or_create(&named).inc_by(evicted);
            }
        }
        self.policies.evicted.inc_by(evicted);
    }
}

/// `value` as a label has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn gauges(counters: &Counters) -> [(&'static str, &'static str, usize); 9] {
    [
        ("requests_waiting", "Requests that wait", counters.waiting),
        ("texts_reading", "Texts whose prompt is being read", counters.reading),
        ("texts_writing", "Texts that are being written", counters.writing),
        ("kv_bytes", "Bytes of the caches of all texts", counters.text_bytes),
        ("kv_limit_bytes", "Bytes that there are for caches and earlier prompts", counters.limit_bytes),
        (
            "kv_free_bytes",
            "Bytes that neither texts nor what is kept for later ones have reserved",
            counters.free_bytes,
        ),
        ("prefix_cache_bytes", "Bytes of earlier prompts", counters.prefix_bytes),
        ("prefix_cache_nodes", "Earlier prompts that are kept", counters.prefix_nodes),
        ("shared_text_bytes", "Bytes of what is known of shared texts", counters.shared_bytes),
    ]
}

fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 11] {
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
        ("timed_out", "Answers, and requests that still waited, which had had all their time", counters.timed_out),
    ]
}

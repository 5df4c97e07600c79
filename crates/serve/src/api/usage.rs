//! What a job has cost: tokens, memory, time.

use std::time::{Duration, Instant};

use headwise_engine::Engine;
use headwise_engine::cache::{CacheMethod, CachePolicy};
use headwise_engine::schedule::{CacheUsage, WhyRead};
use serde_json::{Value, json};

/// What a job has cost so far.
#[derive(Clone, Debug)]
pub struct Usage {
    policy: String,
    /// Its methods.
    methods: Vec<CacheMethod>,
    prompt_tokens: usize,
    cached_tokens: usize,
    estimated_tokens: usize,
    /// Why nothing was estimated of a prompt with shared texts.
    because: Option<WhyRead>,
    /// Tokens of all answers.
    pub completion_tokens: usize,
    /// What the cache of each answer that is complete has cost, by its index.
    caches: Vec<(usize, CacheUsage)>,
    /// How many of them have been counted.
    counted: usize,
    /// Layers that tokens of each answer have passed, where they may leave early.
    layers: Vec<f64>,
    /// What was asked of a model that fills gaps.
    pub fillings: Option<Value>,
    asked: Instant,
    begun: Option<Instant>,
    read: Option<Instant>,
    last: Option<Instant>,
    /// Times that have not been counted yet.
    first: Option<Duration>,
    between: Option<Duration>,
}

impl Usage {
    /// Of a job with so many tokens in its prompts, asked for at `asked`.
    pub fn new(policy: &CachePolicy, prompt_tokens: usize, asked: Instant) -> Self {
        let policy = policy.to_string();
        let methods = headwise_spec::from_chain_text::<CacheMethod>(&policy).unwrap_or_default();
        Self {
            methods,
            policy,
            prompt_tokens,
            cached_tokens: 0,
            estimated_tokens: 0,
            because: None,
            completion_tokens: 0,
            caches: Vec::new(),
            counted: 0,
            layers: Vec::new(),
            fillings: None,
            asked,
            begun: None,
            read: None,
            last: None,
            first: None,
            between: None,
        }
    }

    /// A prompt has left the queue; of its tokens some were there already, or their keys and values were estimated, or `because` says why not.
    pub fn begin(&mut self, cached: usize, estimated: usize, because: Option<WhyRead>) {
        self.cached_tokens += cached;
        self.estimated_tokens += estimated;
        self.because = self.because.or(because);
        self.begun.get_or_insert_with(Instant::now);
    }

    /// A prompt has been read.
    pub fn read(&mut self) {
        let now = Instant::now();
        if self.read.replace(now).is_none() {
            self.first = Some(now - self.asked);
        }
    }

    /// An answer has one more token.
    pub fn token(&mut self) {
        self.completion_tokens += 1;
        let now = Instant::now();
        self.between = self.last.replace(now).map(|last| now - last);
    }

    /// Time from the question to the end of the first prompt, once.
    pub fn take_first(&mut self) -> Option<Duration> {
        self.first.take()
    }

    /// Time between the last two tokens, of whichever answers, once.
    pub fn take_between(&mut self) -> Option<Duration> {
        self.between.take()
    }

    /// The answer number `index` is complete, whose tokens have passed so many `layers` if they may leave early.
    pub fn end(&mut self, index: usize, cache: CacheUsage, layers: Option<f64>) {
        self.caches.push((index, cache));
        self.layers.extend(layers);
    }

    /// The methods of the policy, and how many tokens it has let go of the next answer that is complete, once for each.
    pub fn take_answer(&mut self) -> Option<(&[CacheMethod], u64)> {
        let (_, cache) = self.caches.get(self.counted)?;
        self.counted += 1;
        Some((&self.methods, cache.evicted.round() as u64))
    }

    /// The block `usage` of an answer.
    pub fn usage(&self, engine: &Engine) -> Value {
        let sum = |of: fn(&CacheUsage) -> usize| self.caches.iter().map(|(_, cache)| of(cache)).sum::<usize>();
        let answers = self.caches.len().max(1) as f64;
        let mut usage = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens },
            "headwise": {
                "policy": self.policy,
                "estimated_tokens": self.estimated_tokens,
                "kv_bytes": sum(|cache| cache.bytes),
                "peak_kv_bytes": sum(|cache| cache.peak_bytes),
                "full_kv_bytes": self.caches.iter().map(|(_, cache)| engine.uncompressed_bytes(cache.tokens)).sum::<usize>(),
                "evicted_tokens": (self.caches.iter().map(|(_, cache)| cache.evicted).sum::<f64>() / answers).round(),
            },
        });
        if self.caches.len() > 1 {
            usage["headwise"]["choices"] = self.choices(engine);
        }
        if let Some(because) = &self.because {
            usage["headwise"]["not_estimated"] = json!(because.to_string());
        }
        if !self.layers.is_empty() {
            usage["headwise"]["layers"] = json!(self.layers.iter().sum::<f64>() / self.layers.len() as f64);
        }
        if let Some(fillings) = &self.fillings {
            usage["headwise"]["fillings"] = fillings.clone();
        }
        usage
    }

    /// What each answer has cost, in their order.
    fn choices(&self, engine: &Engine) -> Value {
        let mut caches = self.caches.clone();
        caches.sort_by_key(|(index, _)| *index);
        let choice = |(index, cache): &(usize, CacheUsage)| {
            json!({
                "index": index,
                "kv_bytes": cache.bytes,
                "peak_kv_bytes": cache.peak_bytes,
                "full_kv_bytes": engine.uncompressed_bytes(cache.tokens),
                "evicted_tokens": cache.evicted.round(),
            })
        };
        caches.iter().map(choice).collect()
    }

    /// The block `timings` of an answer.
    pub fn timings(&self) -> Value {
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64(),
            _ => 0.0,
        };
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        let prompt = between(self.begun, self.read);
        let predicted = between(self.read, self.last);
        json!({
            "queue_ms": between(Some(self.asked), self.begun) * 1e3,
            "prompt_ms": prompt * 1e3,
            "prompt_per_second": rate(self.prompt_tokens.saturating_sub(self.cached_tokens + self.estimated_tokens), prompt),
            "predicted_ms": predicted * 1e3,
            "predicted_per_second": rate(self.completion_tokens.saturating_sub(1), predicted),
        })
    }
}

//! Answers of `/props` and `/health`.

use serde::Serialize;
use utoipa::ToSchema;

/// What a model is, and what the server does where a request says nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Props {
    /// Its name.
    pub model: String,
    /// Names of all models; the first is for requests that name none.
    pub models: Vec<String>,
    /// Most tokens of a text.
    pub context: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Layers.
    pub layers: usize,
    /// Whether it can chat.
    pub chat_template: bool,
    /// Variables of its chat template that requests can set with `chat_template_kwargs`.
    pub chat_template_variables: Vec<String>,
    /// The policy of requests that name none.
    pub cache: String,
    /// Every cache method.
    pub cache_methods: Vec<Method>,
    /// Values of fields that are not given.
    pub defaults: Defaults,
    /// What requests may take.
    pub limits: Limits,
    /// Whether fields that are not known are refused.
    pub strict: bool,
    /// Threads that run it.
    pub threads: usize,
    /// Version of the server.
    pub version: String,
}

/// A cache method.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Its name in policies.
    pub name: String,
    /// Its parameters.
    pub signature: String,
    /// What it does.
    pub about: String,
}

/// Values of fields that are not given.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Randomness.
    pub temperature: f32,
    /// Number of tokens that are drawn from; 0 for all.
    pub top_k: usize,
    /// Share of the probability of typical tokens that is drawn from.
    pub typical_p: f32,
    /// Share of the probability that is drawn from.
    pub top_p: f32,
    /// Likelihood of tokens that are drawn from, as a share of the likeliest one's.
    pub min_p: f32,
    /// Divides the scores of tokens that were read or written.
    pub repetition_penalty: f32,
    /// Taken from the scores of tokens that were written.
    pub presence_penalty: f32,
    /// Taken from them for every time.
    pub frequency_penalty: f32,
    /// Tokens before which an answer does not end.
    pub min_tokens: usize,
    /// Most tokens of an answer; null for as many as the context holds.
    #[schema(required)]
    pub max_tokens: Option<usize>,
    /// Answers.
    pub n: usize,
    /// The order in which scores are changed and cut.
    pub order: Vec<String>,
}

/// What requests may take of this model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all caches, in bytes.
    pub kv_bytes: usize,
    /// Of it, that of earlier prompts.
    pub prefix_cache_bytes: usize,
    /// Texts that are written together.
    pub texts: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Bytes of a request.
    pub body_bytes: usize,
    /// Tokens of an answer; null for as many as the context holds.
    #[schema(required)]
    pub answer_tokens: Option<usize>,
    /// Seconds of an answer; null for as many as it takes.
    #[schema(required)]
    pub answer_seconds: Option<f64>,
}

/// That the server takes requests.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// `ok`
    pub status: String,
}

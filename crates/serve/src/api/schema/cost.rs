//! What an answer has cost.

use serde::Serialize;
use utoipa::ToSchema;

/// Tokens and memory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens of all answers.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More about the prompts.
    pub prompt_tokens_details: PromptTokens,
    /// What the caches have cost.
    pub headwise: CacheCost,
}

/// More about the tokens of prompts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptTokens {
    /// Those that an earlier prompt had read.
    pub cached_tokens: usize,
}

/// What the caches of all answers have cost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheCost {
    /// The policy.
    pub policy: String,
    /// Tokens of prompts whose keys and values were estimated.
    pub estimated_tokens: usize,
    /// Why none were, if the prompt has shared texts.
    #[schema(nullable = false)]
    pub not_estimated: Option<String>,
    /// Bytes at the end, of all answers together: what they share counts for each.
    pub kv_bytes: usize,
    /// Bytes at most, of each, added up.
    pub peak_kv_bytes: usize,
    /// Bytes that full caches would have.
    pub full_kv_bytes: usize,
    /// Tokens that were let go, the mean over layers, heads and answers.
    pub evicted_tokens: f64,
    /// The same of each answer, if there are several.
    #[schema(nullable = false)]
    pub choices: Option<Vec<ChoiceCost>>,
    /// Layers that a token has passed, in the mean, where tokens may leave early.
    #[schema(nullable = false)]
    pub layers: Option<f64>,
    /// What a model that fills gaps was asked.
    #[schema(nullable = false)]
    pub fillings: Option<Fillings>,
}

/// What the cache of one of several answers has cost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceCost {
    /// Number of the answer.
    pub index: usize,
    /// Bytes at the end.
    pub kv_bytes: usize,
    /// Bytes at most.
    pub peak_kv_bytes: usize,
    /// Bytes that a full cache would have.
    pub full_kv_bytes: usize,
    /// Tokens that were let go, the mean over layers and heads.
    pub evicted_tokens: f64,
}

/// An answer that was written in fillings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fillings {
    /// How often the model was asked.
    pub calls: usize,
    /// Tokens that it was shown in all calls.
    pub shown_tokens: usize,
    /// Tokens that had to be read.
    pub read_tokens: usize,
    /// Words of the answer.
    pub words: usize,
}

/// How long it took.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    /// Milliseconds in the queue.
    pub queue_ms: f64,
    /// Milliseconds of reading.
    pub prompt_ms: f64,
    /// Tokens read in a second.
    pub prompt_per_second: f64,
    /// Milliseconds of writing.
    pub predicted_ms: f64,
    /// Tokens written in a second.
    pub predicted_per_second: f64,
}

//! Answers of `/v1/completions`.

use serde::Serialize;
use utoipa::ToSchema;

use super::{StreamInsight, Timings, Usage};

/// A whole answer, or a piece of one: that has a choice at most, and what all have cost only at the end.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextCompletion {
    /// Its name.
    pub id: String,
    /// `text_completion`
    pub object: String,
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// The answers.
    pub choices: Vec<CompletionChoice>,
    /// What they have cost.
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// How long they took.
    #[schema(nullable = false)]
    pub timings: Option<Timings>,
    /// The memory of the cache now, in pieces; at the end, what was asked for beyond the text.
    #[schema(nullable = false)]
    pub headwise: Option<StreamInsight>,
}

/// One answer, or a piece of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionChoice {
    /// Its number.
    pub index: usize,
    /// The text.
    pub text: String,
    /// How likely its tokens were, if that was asked for.
    #[schema(required)]
    pub logprobs: Option<CompletionLogProbabilities>,
    /// `stop` or `length`, once it has ended.
    #[schema(required)]
    pub finish_reason: Option<String>,
    /// `max_seconds` if it ended because there was no time for more.
    #[schema(nullable = false)]
    pub stop_reason: Option<String>,
}

/// How likely tokens were.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionLogProbabilities {
    /// Their texts.
    pub tokens: Vec<String>,
    /// Logarithms of their probabilities.
    pub token_logprobs: Vec<f64>,
    /// The likeliest in the place of each, by their texts.
    pub top_logprobs: Vec<std::collections::BTreeMap<String, f64>>,
    /// Where each begins in the answer, in characters.
    pub text_offset: Vec<usize>,
}

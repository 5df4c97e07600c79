//! Answers of `/v1/chat/completions`.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ShownOfAll, Timings, Usage};

/// A whole answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatCompletion {
    /// Its name.
    pub id: String,
    /// `chat.completion`
    pub object: String,
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// What they have cost.
    pub usage: Usage,
    /// How long they took.
    pub timings: Timings,
    /// What was asked for beyond the text.
    #[schema(nullable = false)]
    pub headwise: Option<ShownOfAll>,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatChoice {
    /// Its number.
    pub index: usize,
    /// What it says.
    pub message: ChatMessageAnswer,
    /// How likely its tokens were, if that was asked for.
    #[schema(required)]
    pub logprobs: Option<ChatLogProbabilities>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: String,
    /// `max_seconds` if it ended because there was no time for more.
    #[schema(nullable = false)]
    pub stop_reason: Option<String>,
}

/// What an answer says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatMessageAnswer {
    /// `assistant`
    pub role: String,
    /// The text; null where there are calls only.
    #[schema(required)]
    pub content: Option<String>,
    /// Always null.
    #[schema(required)]
    pub refusal: Option<String>,
    /// Calls of functions.
    #[schema(nullable = false)]
    pub tool_calls: Option<Vec<FunctionCall>>,
}

/// A call of a function.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// Its number, in streams.
    #[schema(nullable = false)]
    pub index: Option<usize>,
    /// Its name, by which a result refers to it.
    pub id: String,
    /// `function`
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    pub function: CalledFunction,
}

/// The function that is called.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// What it is called with, as JSON.
    pub arguments: String,
}

/// How likely tokens were.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatLogProbabilities {
    /// Token by token.
    pub content: Vec<TokenLikelihood>,
    /// Always null.
    #[schema(required)]
    pub refusal: Option<Vec<TokenLikelihood>>,
}

/// How likely a token was, and which were likeliest in its place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenLikelihood {
    /// Its text.
    pub token: String,
    /// Logarithm of its probability.
    pub logprob: f64,
    /// The bytes of its text.
    pub bytes: Vec<u8>,
    /// The likeliest.
    pub top_logprobs: Vec<LikelyToken>,
}

/// A likely token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LikelyToken {
    /// Its text.
    pub token: String,
    /// Logarithm of its probability.
    pub logprob: f64,
    /// The bytes of its text.
    pub bytes: Vec<u8>,
}

/// A piece of an answer; the last one may have what it has cost in place of a choice.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatChunk {
    /// Name of the answer.
    pub id: String,
    /// `chat.completion.chunk`
    pub object: String,
    /// When the answer was begun, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// What comes now.
    pub choices: Vec<ChunkChoice>,
    /// What the answers have cost, in the last piece.
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// How long they took, in the last piece.
    #[schema(nullable = false)]
    pub timings: Option<Timings>,
    /// The memory of the cache now; in the last piece, what was asked for beyond the text.
    #[schema(nullable = false)]
    pub headwise: Option<StreamInsight>,
}

/// What `headwise` says in a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum StreamInsight {
    /// With a piece.
    Live(Live),
    /// At the end.
    Shown(Box<ShownOfAll>),
}

/// The memory of a cache while the answer is written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Bytes of the cache.
    pub kv_bytes: usize,
    /// Tokens written so far.
    pub tokens: usize,
}

/// A piece of one answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChunkChoice {
    /// Number of the answer.
    pub index: usize,
    /// What it says more.
    pub delta: ChatDelta,
    /// How likely its tokens were, if that was asked for.
    #[schema(required)]
    pub logprobs: Option<ChatLogProbabilities>,
    /// Why the answer ended, once it has.
    #[schema(required)]
    pub finish_reason: Option<String>,
    /// `max_seconds` if it ended because there was no time for more.
    #[schema(nullable = false)]
    pub stop_reason: Option<String>,
}

/// What an answer says more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatDelta {
    /// `assistant`, in the first piece.
    #[schema(nullable = false)]
    pub role: Option<String>,
    /// Text.
    #[schema(nullable = false)]
    pub content: Option<String>,
    /// A call of a function, as a whole.
    #[schema(nullable = false)]
    pub tool_calls: Option<Vec<FunctionCall>>,
}

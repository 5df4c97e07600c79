//! Answers of `/v1/responses`.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::responses::TextFormat;
use super::{CacheCost, PromptTokens, Timings};

/// A response.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseObject {
    /// Its name, by which the next request goes on with it.
    pub id: String,
    /// `response`
    pub object: String,
    /// When it was begun, in seconds since 1970.
    pub created_at: u64,
    /// How far it is.
    pub status: ResponseStatus,
    /// The model.
    pub model: String,
    /// Messages and calls, in their order.
    pub output: Vec<OutputItem>,
    /// Always null: errors have a status of their own.
    #[schema(required)]
    pub error: Option<Value>,
    /// Why it is incomplete.
    #[schema(required)]
    pub incomplete_details: Option<Why>,
    /// As asked.
    #[schema(required)]
    pub instructions: Option<String>,
    /// As asked.
    #[schema(required)]
    pub previous_response_id: Option<String>,
    /// As asked.
    #[schema(required)]
    pub max_output_tokens: Option<usize>,
    /// The randomness.
    pub temperature: f32,
    /// The share of probability that was drawn from.
    pub top_p: f32,
    /// Whether it is remembered.
    pub store: bool,
    /// As asked.
    pub metadata: Value,
    /// As asked.
    pub parallel_tool_calls: bool,
    /// As asked.
    pub tool_choice: Value,
    /// As asked.
    pub tools: Vec<Value>,
    /// The form of the answer.
    pub text: TextForm,
    /// `disabled`
    pub truncation: String,
    /// What it has cost, once it is complete.
    #[schema(required)]
    pub usage: Option<ResponseUsage>,
    /// How long it took, once it is complete.
    #[schema(nullable = false)]
    pub timings: Option<Timings>,
}

/// How far a response is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// It is being written.
    InProgress,
    /// It was ended by the number of its tokens, or by its time.
    Incomplete,
    /// It came to its own end.
    Completed,
}

/// The form of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextForm {
    /// The form.
    pub format: TextFormat,
}

/// Why a response is incomplete.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// `max_output_tokens`, or `max_seconds` if there was no time for more.
    pub reason: String,
}

/// How far an item is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// It is being written.
    InProgress,
    /// It was ended by the number of tokens, or by its time.
    Incomplete,
    /// It is whole.
    Completed,
}

/// An item of a response.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// Text.
    Message {
        /// Its name.
        id: String,
        /// How far it is.
        status: ItemStatus,
        /// `assistant`
        role: String,
        /// The text, in one part.
        content: Vec<TextPart>,
    },
    /// A call of a function.
    FunctionCall {
        /// Its name among the items.
        id: String,
        /// The name by which its result refers to it.
        call_id: String,
        /// The function.
        name: String,
        /// What it is called with, as JSON.
        arguments: String,
        /// How far it is.
        status: ItemStatus,
    },
}

/// A text of a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextPart {
    /// `output_text`
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: String,
    /// Always empty.
    pub annotations: Vec<Value>,
    /// Always empty.
    pub logprobs: Vec<Value>,
}

/// What a response has cost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseUsage {
    /// Tokens of the conversation.
    pub input_tokens: usize,
    /// More about them.
    pub input_tokens_details: PromptTokens,
    /// Tokens of the answer.
    pub output_tokens: usize,
    /// More about them.
    pub output_tokens_details: OutputTokens,
    /// Both.
    pub total_tokens: usize,
    /// What the cache has cost.
    pub headwise: CacheCost,
}

/// More about the tokens of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputTokens {
    /// Always 0: reasoning is text like any other.
    pub reasoning_tokens: usize,
}

/// Something that happens in a stream. Its kind says which of the fields it has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseEvent {
    /// Such as `response.output_text.delta` or `response.completed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its number, from 0 on.
    pub sequence_number: usize,
    /// The response as it is now.
    #[schema(nullable = false)]
    pub response: Option<Box<ResponseObject>>,
    /// Number of the item.
    #[schema(nullable = false)]
    pub output_index: Option<usize>,
    /// Name of the item.
    #[schema(nullable = false)]
    pub item_id: Option<String>,
    /// Number of the part.
    #[schema(nullable = false)]
    pub content_index: Option<usize>,
    /// The item as it is now.
    #[schema(nullable = false)]
    pub item: Option<OutputItem>,
    /// The part as it is now.
    #[schema(nullable = false)]
    pub part: Option<TextPart>,
    /// More text, or more of what a function is called with.
    #[schema(nullable = false)]
    pub delta: Option<String>,
    /// The whole text.
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// All that a function is called with.
    #[schema(nullable = false)]
    pub arguments: Option<String>,
    /// The function.
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Always empty.
    #[schema(nullable = false)]
    pub logprobs: Option<Vec<String>>,
}

//! What an answer shows of the model.

use serde::Serialize;
use utoipa::ToSchema;

/// What the request's `headwise` asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ShownOfAll {
    /// Of the only answer.
    One(Box<Shown>),
    /// Of several.
    Several(ShownOfEach),
}

/// What several answers show.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShownOfEach {
    /// Each, in their order.
    pub choices: Vec<Shown>,
}

/// What an answer shows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Which tokens are still in the cache; null if the policy does not say.
    pub kept: Option<Kept>,
    /// Pieces of the prompt that the policy read; null if it read everything.
    pub selected_text: Option<Vec<String>>,
    /// What the last tokens attend to, a row for each.
    #[schema(nullable = false)]
    pub attention_rows: Option<Vec<Vec<f32>>>,
    /// Layer and key-value head of those that copy from far back.
    #[schema(nullable = false)]
    pub retrieval_heads: Option<Vec<Vec<usize>>>,
    /// How sure the answer is, from 0 to 1; null if that cannot be said.
    pub confidence: Option<f64>,
}

/// Tokens, and where they still are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The text of every token that was read.
    pub tokens: Vec<String>,
    /// By layer and key-value head: half-open runs of positions.
    pub layers: Vec<Vec<Vec<Vec<i32>>>>,
}

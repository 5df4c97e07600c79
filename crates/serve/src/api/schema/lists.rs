//! Answers of `/v1/models`, `/v1/embeddings` and `/v1/rerank`.

use serde::Serialize;
use utoipa::ToSchema;

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelList {
    /// `list`
    pub object: String,
    /// The models; the first is for requests that name none.
    pub data: Vec<ModelEntry>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The name that requests ask for.
    pub id: String,
    /// `model`
    pub object: String,
    /// When the server began, in seconds since 1970.
    pub created: u64,
    /// `headwise`
    pub owned_by: String,
    /// The model whose projections it changes, if this is an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// Vectors of texts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingList {
    /// `list`
    pub object: String,
    /// The vectors, in the order of the texts.
    pub data: Vec<Embedding>,
    /// The model.
    pub model: String,
    /// How much was read.
    pub usage: TextUsage,
}

/// The vector of one text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// `embedding`
    pub object: String,
    /// Number of the text.
    pub index: usize,
    /// The vector, of length 1.
    pub embedding: Vector,
}

/// A vector, in the form that was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Numbers(Vec<f32>),
    /// The same as little-endian 32-bit floats in base64.
    Coded(String),
}

/// How much was read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextUsage {
    /// Tokens of all texts.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// Documents, the nearest to the question first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ranking {
    /// Its name.
    pub id: String,
    /// The model.
    pub model: String,
    /// The documents.
    pub results: Vec<Ranked>,
    /// How much was read.
    pub usage: TextUsage,
}

/// A document and how near it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// Number of the document.
    pub index: usize,
    /// The cosine of question and document.
    pub relevance_score: f64,
    /// The document, if it was asked for.
    #[schema(nullable = false)]
    pub document: Option<Document>,
}

/// A document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it says.
    pub text: String,
}

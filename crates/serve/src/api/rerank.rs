//! `POST /v1/rerank`: documents by how near they are to a question.
//!
//! The score is the cosine of the vectors of question and document. Models that were trained for it have telling ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use headwise_engine::Pooling;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::embeddings::embed;
use super::fields::PromptInput;
use super::schema::{Ranking, Refused};
use super::{ApiError, body};
use crate::App;
use crate::http::Body;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct RerankRequest {
    /// Name of the model; the one that is served if not given.
    model: Option<String>,
    /// The question.
    query: Option<String>,
    /// The documents.
    documents: Option<Vec<String>>,
    /// How many of the best to return; all if not given.
    top_n: Option<usize>,
    /// Whether the documents come back with their scores.
    return_documents: Option<bool>,
    /// How the vectors of tokens become one: `mean` or `last`.
    #[schema(value_type = Option<String>)]
    pooling: Option<Pooling>,
}

/// The documents that are nearest, the nearest first.
#[utoipa::path(post, path = "/v1/rerank", request_body = RerankRequest, responses(
    (status = 200, description = "Indices of documents and their scores", body = Ranking),
    Refused,
))]
pub async fn rerank(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Json<Value>, ApiError> {
    let request: RerankRequest = body::parse(&bytes, app.options.lenient)?;
    let served = app.model(request.model.as_deref())?;
    let query = request.query.ok_or_else(|| ApiError::parameter("query", "query is missing"))?;
    let documents = request.documents.ok_or_else(|| ApiError::parameter("documents", "documents is missing"))?;
    if documents.is_empty() {
        return Err(ApiError::parameter("documents", "documents is empty"));
    }
    let asked = served.clone();
    let (documents, texts) = tokio::task::spawn_blocking(move || {
        let question = PromptInput::Text(query).tokens(&asked, "query")?;
        let texts = PromptInput::Texts(documents.clone()).tokens(&asked, "documents")?;
        Ok::<_, ApiError>((documents, [question, texts].concat()))
    })
    .await
    .map_err(|_| ApiError::internal("the texts could not be read"))??;
    let (vectors, tokens) = embed(&served, texts, request.pooling.unwrap_or_default(), "documents").await?;
    let (question, vectors) = (&vectors[0], &vectors[1..]);
    let cosine = |vector: &[f32]| question.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut scores: Vec<(usize, f64)> = vectors.iter().map(|vector| cosine(vector)).enumerate().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores.truncate(request.top_n.unwrap_or(usize::MAX));
    let with_documents = request.return_documents.unwrap_or(false);
    let result = |(index, score): (usize, f64)| {
        let mut result = json!({ "index": index, "relevance_score": score });
        if with_documents {
            result["document"] = json!({ "text": documents[index] });
        }
        result
    };
    Ok(Json(json!({
        "id": served.id("rerank"),
        "model": served.name(),
        "results": scores.into_iter().map(result).collect::<Vec<_>>(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

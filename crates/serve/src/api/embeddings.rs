//! `POST /v1/embeddings`: vectors of texts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwise_engine::Pooling;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::fields::PromptInput;
use super::schema::{EmbeddingList, Refused};
use super::{ApiError, body};
use crate::http::Body;
use crate::{App, Served};

/// Texts of a request, and tokens of all of them together: they are read between two forwards of answers, which wait for them.
const MOST_TEXTS: usize = 2048;
const MOST_TOKENS: usize = 300_000;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send what changes nothing here")]
pub struct EmbeddingRequest {
    /// Name of the model; the one that is served if not given.
    model: Option<String>,
    /// One text or several, as text or tokens.
    input: Option<PromptInput>,
    /// `float` or `base64`.
    encoding_format: Option<String>,
    /// How the vectors of tokens become one: `mean` or `last`.
    #[schema(value_type = Option<String>)]
    pooling: Option<Pooling>,
    /// Only the model's own number of channels is taken.
    dimensions: Option<usize>,
    /// Not used.
    user: Option<String>,
}

/// Vectors of length 1.
#[utoipa::path(post, path = "/v1/embeddings", request_body = EmbeddingRequest, responses(
    (status = 200, description = "The vectors", body = EmbeddingList),
    Refused,
))]
pub async fn embeddings(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Json<Value>, ApiError> {
    let request: EmbeddingRequest = body::parse(&bytes, app.options.lenient)?;
    let served = app.model(request.model.as_deref())?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("`{other}` is not known: float or base64");
            return Err(ApiError::parameter("encoding_format", message));
        }
    };
    let dim = served.model.engine.spec().dim;
    if request.dimensions.is_some_and(|dimensions| dimensions != dim) {
        return Err(ApiError::parameter("dimensions", format!("this model's vectors have {dim} channels")));
    }
    let input = request.input.ok_or_else(|| ApiError::parameter("input", "input is missing"))?;
    let asked = served.clone();
    let texts = tokio::task::spawn_blocking(move || input.tokens(&asked, "input"))
        .await
        .map_err(|_| ApiError::internal("the texts could not be read"))??;
    let (vectors, tokens) = embed(&served, texts, request.pooling.unwrap_or_default(), "input").await?;
    let entry = |(index, vector): (usize, Vec<f32>)| {
        let embedding = match base64 {
            true => json!(STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())),
            false => json!(vector),
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    Ok(Json(json!({
        "object": "list",
        "data": vectors.into_iter().enumerate().map(entry).collect::<Vec<_>>(),
        "model": served.name(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

/// The vectors of `texts`, which the field `param` of a request has, and how many tokens they have together.
pub async fn embed(
    served: &Served,
    texts: Vec<Vec<u32>>,
    pooling: Pooling,
    param: &str,
) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    let tokens = texts.iter().map(Vec::len).sum();
    match () {
        () if served.adapter.is_some() => {
            let message = format!(
                "vectors are made by the model without adapters: ask for `{}` instead of `{}`",
                served.model.name,
                served.name()
            );
            return Err(ApiError::parameter("model", message));
        }
        () if texts.is_empty() => return Err(ApiError::parameter(param, format!("{param} is empty"))),
        () if texts.len() > MOST_TEXTS || tokens > MOST_TOKENS => {
            let message = format!(
                "{param} has {} texts and {tokens} tokens: {MOST_TEXTS} texts and {MOST_TOKENS} tokens are possible",
                texts.len()
            );
            return Err(ApiError::parameter(param, message));
        }
        () => {}
    }
    let vectors = served.worker.ask(move |model| model.engine.embed(&texts, pooling));
    let vectors =
        vectors.await.ok_or_else(|| ApiError::internal("the texts could not be read: see the server's log"))?;
    Ok((vectors.map_err(|error| ApiError::parameter(param, error.to_string()))?, tokens))
}

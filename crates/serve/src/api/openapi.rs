//! `GET /openapi.json`: everything that the server understands, made from the code.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// Headwise
#[derive(OpenApi)]
#[openapi(paths(
    super::chat::chat,
    super::completions::completions,
    super::embeddings::embeddings,
    super::rerank::rerank,
    super::responses::responses,
    super::props::models,
    super::props::model,
    super::props::props,
    super::props::health,
    super::props::metrics,
    openapi,
    crate::http::page::page,
))]
struct Api;

/// The document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This document", body = Object)))]
pub async fn openapi() -> Json<Document> {
    Json(Api::openapi())
}

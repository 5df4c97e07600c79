//! What is served and how it is: `/v1/models`, `/props`, `/health`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headwise_engine::cache::CacheMethod;
use headwise_spec::Family;
use serde_json::{Value, json};

use super::ApiError;
use super::generation::DEFAULT_TEMPERATURE;
use crate::App;

/// `GET /v1/models`
#[utoipa::path(get, path = "/v1/models", responses((status = 200, description = "The model that is served")))]
pub async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let model = json!({ "id": app.model.name, "object": "model", "created": app.created, "owned_by": "headwise" });
    Json(json!({ "object": "list", "data": [model] }))
}

/// `GET /props`
#[utoipa::path(get, path = "/props", responses((status = 200, description = "Defaults, limits, and every cache method")))]
pub async fn props(State(app): State<Arc<App>>) -> Json<Value> {
    let engine = &app.model.engine;
    let method = |name: &&str| {
        let signature = CacheMethod::signature(name)?;
        Some(json!({ "name": name, "signature": signature.to_string(), "about": signature.about }))
    };
    let schedule = &app.options.schedule;
    Json(json!({
        "model": app.model.name,
        "context": engine.context(),
        "vocabulary": engine.spec().vocabulary,
        "layers": engine.spec().layers.len(),
        "chat_template": app.model.template.is_some(),
        "cache": app.options.policy.to_string(),
        "cache_methods": CacheMethod::NAMES.iter().filter_map(method).collect::<Vec<_>>(),
        "defaults": { "temperature": DEFAULT_TEMPERATURE, "top_p": 1.0, "top_k": 0, "n": 1 },
        "limits": {
            "kv_bytes": schedule.bytes,
            "prefix_cache_bytes": schedule.prefix_bytes,
            "texts": schedule.texts,
            "waiting": schedule.waiting,
            "body_bytes": app.options.body_bytes,
        },
        "strict": !app.options.lenient,
        "threads": engine.threads(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /health`
#[utoipa::path(get, path = "/health", responses((status = 200, description = "The server takes requests")))]
pub async fn health(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.stopping() { Err(ApiError::stopping()) } else { Ok(Json(json!({ "status": "ok" }))) }
}

/// `GET /metrics`
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Counts, for Prometheus")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, FORM)], app.metrics.text(&app.worker.counters())).into_response()
}

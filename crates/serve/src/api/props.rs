//! What is served and how it is: `/v1/models`, `/props`, `/health`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use headwise_engine::Sampling;
use headwise_engine::cache::CacheMethod;
use headwise_models::chat::ChatTemplate;
use headwise_spec::Family;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::ApiError;
use super::generation::DEFAULT_TEMPERATURE;
use super::schema::{ErrorBody, Health, ModelEntry, ModelList, Props, Refused};
use crate::{App, Served};

/// `GET /v1/models`
#[utoipa::path(get, path = "/v1/models", responses(
    (status = 200, description = "The models that are served", body = ModelList),
    Refused,
))]
pub async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app.models.iter().map(|served| told(served)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// `GET /v1/models/{model}`
#[utoipa::path(get, path = "/v1/models/{model}", params(("model" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The model", body = ModelEntry),
    Refused,
))]
pub async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(told(&*app.model(Some(&name))?)))
}

fn told(served: &Served) -> Value {
    let mut told =
        json!({ "id": served.name(), "object": "model", "created": served.names.created, "owned_by": "headwise" });
    if let Some(parent) = served.parent() {
        told["parent"] = json!(parent);
    }
    told
}

/// What may be asked of `/props`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PropsQuery {
    /// Name of the model; the first if not given.
    model: Option<String>,
}

/// `GET /props`
#[utoipa::path(get, path = "/props", params(PropsQuery), responses(
    (status = 200, description = "Defaults, limits, and every cache method", body = Props),
    Refused,
))]
pub async fn props(
    State(app): State<Arc<App>>,
    query: Result<Query<PropsQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(PropsQuery { model }) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let served = app.model(model.as_deref())?;
    let engine = &served.model.engine;
    let method = |name: &&str| {
        let signature = CacheMethod::signature(name)?;
        Some(json!({ "name": name, "signature": signature.to_string(), "about": signature.about }))
    };
    let schedule = &served.schedule;
    Ok(Json(json!({
        "model": served.name(),
        "models": app.models.iter().map(|served| served.name()).collect::<Vec<_>>(),
        "context": engine.context(),
        "vocabulary": engine.spec().vocabulary,
        "layers": engine.spec().layers.len(),
        "chat_template": served.model.template.is_some(),
        "chat_template_variables": served.model.template.as_ref().map(ChatTemplate::variables).unwrap_or_default(),
        "cache": served.policy.to_string(),
        "cache_methods": CacheMethod::NAMES.iter().filter_map(method).collect::<Vec<_>>(),
        "defaults": defaults(&served),
        "limits": {
            "kv_bytes": schedule.bytes,
            "prefix_cache_bytes": schedule.prefix_bytes,
            "texts": schedule.texts,
            "waiting": schedule.waiting,
            "body_bytes": app.options.body_bytes,
            "answer_tokens": served.answer_tokens,
            "answer_seconds": served.answer_time.map(|time| time.as_secs_f64()),
        },
        "strict": !app.options.lenient,
        "threads": engine.threads(),
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

/// Values of fields that are not given, and the order in which they count.
fn defaults(served: &Served) -> Value {
    let none = Sampling::default();
    json!({
        "temperature": DEFAULT_TEMPERATURE,
        "top_k": none.top_k,
        "typical_p": none.typical_p,
        "top_p": none.top_p,
        "min_p": none.min_p,
        "repetition_penalty": none.repetition_penalty,
        "presence_penalty": none.presence_penalty,
        "frequency_penalty": none.frequency_penalty,
        "min_tokens": none.min_tokens,
        "max_tokens": served.answer_tokens,
        "n": 1,
        "order": ORDER,
    })
}

/// What changes and cuts the scores of tokens, one after the other.
const ORDER: [&str; 10] =
    ["penalties", "dry", "logit_bias", "top_k", "typical_p", "top_p", "min_p", "xtc", "mirostat", "temperature"];

/// `GET /health`
#[utoipa::path(get, path = "/health", responses(
    (status = 200, description = "The server takes requests", body = Health),
    (status = 503, description = "The server is stopping", body = ErrorBody),
))]
pub async fn health(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.stopping() { Err(ApiError::stopping()) } else { Ok(Json(json!({ "status": "ok" }))) }
}

/// How counts are written.
const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "Counts, for Prometheus", body = String, content_type = FORM),
    Refused,
))]
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    // An adapter is counted with its model, whose thread it has.
    let models = app.models.iter().filter(|served| served.adapter.is_none());
    let models: Vec<_> = models.map(|served| (served.name(), served.worker.published())).collect();
    ([(header::CONTENT_TYPE, FORM)], app.metrics.text(&models)).into_response()
}

//! Paths, and what holds for all of them.

mod body;
mod listen;
pub(crate) mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

pub use self::body::Body;
pub use self::listen::serve;
use crate::App;
use crate::api::{self, ApiError};

/// Everything that `app` answers.
pub fn router(app: Arc<App>) -> Router {
    let cors = app.options.cors.as_deref().map(cors);
    let router = Router::new()
        .route("/v1/chat/completions", post(api::chat))
        .route("/v1/completions", post(api::completions))
        .route("/v1/embeddings", post(api::embeddings))
        .route("/v1/rerank", post(api::rerank))
        .route("/v1/responses", post(api::responses))
        .route("/v1/models", get(api::models))
        .route("/v1/models/{*model}", get(api::model))
        .route("/", get(page::page))
        .route("/openapi.json", get(api::openapi))
        .route("/props", get(api::props))
        .route("/health", get(api::health))
        .route("/metrics", get(api::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), admit))
        .with_state(app);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::no_such_path(uri.path())
}

async fn wrong_method() -> ApiError {
    ApiError::wrong_method()
}

/// Paths that need no key: whether the server is there, its page, and what it understands.
const OPEN: [&str; 3] = ["/health", "/", "/openapi.json"];

/// Lets a request pass if it has a key, and writes down how it was answered. Neither keys nor what was asked are written down.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let key = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let begun = std::time::Instant::now();
    let response = match () {
        () if !OPEN.contains(&path.as_str()) && !app.options.keys.admit(key) => {
            ApiError::unauthorised().into_response()
        }
        () if app.stopping() && request.method() == Method::POST => ApiError::stopping().into_response(),
        () => next.run(request).await,
    };
    let status = response.status().as_u16();
    app.metrics.answered(&path, status);
    tracing::info!(path, status, milliseconds = begun.elapsed().as_millis() as u64, "request");
    response
}

/// Pages of `origin` may ask.
fn cors(origin: &str) -> CorsLayer {
    let layer = CorsLayer::new().allow_methods([Method::GET, Method::POST]).allow_headers(Any);
    match HeaderValue::from_str(origin) {
        Ok(_) if origin == "*" => layer.allow_origin(Any),
        Ok(origin) => layer.allow_origin(AllowOrigin::exact(origin)),
        Err(_) => layer,
    }
}

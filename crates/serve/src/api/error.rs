//! Errors as clients of OpenAI's interface expect them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headwise_engine::schedule::ScheduleError;
use headwise_engine::{EngineError, TextError};
use serde_json::{Value, json};

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_seconds: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None, retry_seconds: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The value of `param` is wrong.
    pub fn parameter(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// The request has a field that is not known.
    pub fn unknown_field(field: &str, message: String) -> Self {
        Self { code: Some("unknown_field"), ..Self::parameter(field, message) }
    }

    /// No key, or a wrong one.
    pub fn unauthorised() -> Self {
        let message = "the API key is missing or wrong: send it as `Authorization: Bearer KEY`";
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    /// A model that is not served.
    pub fn unknown_model<'a>(asked: &str, served: impl Iterator<Item = &'a str>) -> Self {
        let served: Vec<String> = served.map(|name| format!("`{name}`")).collect();
        let message = format!("the model `{asked}` is not served here: ask for {}", served.join(" or "));
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { param: Some("model".into()), code: Some("model_not_found"), ..error }
    }

    /// A path that leads nowhere.
    pub fn no_such_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", format!("there is nothing at {path}"))
    }

    /// A path that does not take the method.
    pub fn wrong_method() -> Self {
        let message = "this path does not take this method: answers are asked for with POST";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// More bytes than a request may have.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the request has more than the {limit} bytes that one may have (--max-body)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    /// The request did not come in time.
    pub fn too_slow(seconds: u64) -> Self {
        let message = format!("the request did not come within {seconds} seconds");
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    }

    /// Others have to be served first.
    pub fn busy(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { code: Some("queue_full"), retry_seconds: Some(1), ..error }
    }

    /// The server ends.
    pub fn stopping() -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "the server is stopping");
        Self { retry_seconds: Some(1), ..error }
    }

    /// Something broke.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The same, where the field that is called `from` inside is called `to` by the client.
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        let rest = self.param.as_deref().and_then(|param| param.strip_prefix(from));
        self.param = rest.map(|rest| format!("{to}{rest}")).or(self.param);
        self
    }

    /// What stands in the body, in a stream too.
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let message = error.to_string();
        match error {
            ScheduleError::Busy { .. } | ScheduleError::Waited { .. } => Self::busy(message),
            ScheduleError::Memory { .. } => Self { code: Some("memory_exceeded"), ..Self::invalid(message) },
            ScheduleError::Engine(EngineError::ContextOverflow { .. } | EngineError::Positions { .. }) => {
                Self { code: Some("context_length_exceeded"), ..Self::invalid(message) }
            }
            _ => Self::invalid(message),
        }
    }
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

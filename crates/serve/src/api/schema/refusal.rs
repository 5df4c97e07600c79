//! What a request gets that is not granted.

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// An error, as OpenAI's clients expect it; in a stream, too.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// In words: what is wrong, and what would be right.
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field of the request that is wrong.
    #[schema(required)]
    pub param: Option<String>,
    /// A name of what is wrong, such as `unknown_field`, `model_not_found` or `context_length_exceeded`.
    #[schema(required)]
    pub code: Option<String>,
}

/// How requests are refused.
#[derive(Debug, IntoResponses)]
pub enum Refused {
    /// The request is wrong.
    #[response(status = 400)]
    Wrong(ErrorBody),
    /// No key, or a wrong one.
    #[response(status = 401)]
    Key(ErrorBody),
    /// The model is not served.
    #[response(status = 404)]
    Model(ErrorBody),
    /// The request did not come in time.
    #[response(status = 408)]
    Late(ErrorBody),
    /// The request is too long.
    #[response(status = 413)]
    Long(ErrorBody),
    /// Others have to be served first: come again after `Retry-After` seconds.
    #[response(status = 429)]
    Busy(ErrorBody),
    /// Something broke.
    #[response(status = 500)]
    Broken(ErrorBody),
    /// The server is stopping.
    #[response(status = 503)]
    Stopping(ErrorBody),
}

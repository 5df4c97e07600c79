//! The body of a request, as long and as late as it may be.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::StreamExt;

use crate::App;
use crate::api::ApiError;

/// The whole body of a request.
pub struct Body(pub Bytes);

/// Bytes of a body that is too long that are read and thrown away, so that its client reads the answer.
const THROWN_AWAY: usize = 64 << 20;

impl FromRequest<Arc<App>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (limit, seconds) = (app.options.body_bytes, app.options.request_seconds);
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let mut stream = request.into_body().into_data_stream();
        let read = async {
            let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(limit));
            let mut count = 0;
            while let Some(part) = stream.next().await {
                let part = part.map_err(|error| ApiError::invalid(format!("the request broke off: {error}")))?;
                count += part.len();
                if count <= limit {
                    bytes.extend_from_slice(&part);
                } else if count > limit.saturating_add(THROWN_AWAY) {
                    break;
                }
            }
            if count > limit { Err(ApiError::too_large(limit)) } else { Ok(Self(bytes.into())) }
        };
        tokio::time::timeout(Duration::from_secs(seconds), read)
            .await
            .unwrap_or_else(|_| Err(ApiError::too_slow(seconds)))
    }
}

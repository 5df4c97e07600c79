//! Answers that come piece by piece, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

use super::ApiError;

/// Pieces that may wait for a client that reads slowly.
const WAITING: usize = 256;
/// How often a stream in which nothing happens says that it is still there.
const ALIVE: Duration = Duration::from_secs(15);

/// The pieces of an answer, as a response.
pub struct Frames {
    sender: Sender<Result<Event, Infallible>>,
    receiver: Receiver<Result<Event, Infallible>>,
}

/// Where pieces go.
pub struct Sink(Sender<Result<Event, Infallible>>);

impl Frames {
    /// No pieces yet.
    pub fn new() -> Self {
        let (sender, receiver) = channel(WAITING);
        Self { sender, receiver }
    }

    /// Where its pieces come from; the response ends when no such end is left.
    pub fn sink(&self) -> Sink {
        Sink(self.sender.clone())
    }
}

impl IntoResponse for Frames {
    fn into_response(self) -> Response {
        drop(self.sender);
        let alive = KeepAlive::new().interval(ALIVE).text("keep-alive");
        Sse::new(ReceiverStream::new(self.receiver)).keep_alive(alive).into_response()
    }
}

impl Sink {
    /// Sends a piece; returns whether anybody still reads.
    pub async fn send(&self, piece: Value) -> bool {
        self.0.send(Ok(Event::default().data(piece.to_string()))).await.is_ok()
    }

    /// Sends a piece with the name of its kind; returns whether anybody still reads.
    pub async fn send_named(&self, name: &str, piece: Value) -> bool {
        self.0.send(Ok(Event::default().event(name).data(piece.to_string()))).await.is_ok()
    }

    /// Sends what went wrong, if anything, and the end.
    pub async fn finish(&self, outcome: Result<(), ApiError>) {
        if let Err(error) = outcome {
            self.send(error.body()).await;
        }
        let _ = self.0.send(Ok(Event::default().data("[DONE]"))).await;
    }
}

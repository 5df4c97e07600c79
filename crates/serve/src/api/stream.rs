//! Answers that come piece by piece, as server-sent events.
//!
//! A request that is refused before its first piece is refused with a status, as any other; later there is only the stream to say it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;

use super::ApiError;
use super::job::Running;

/// Pieces that may wait for a client that reads slowly.
const WAITING: usize = 256;
/// How often a stream in which nothing happens says that it is still there.
const ALIVE: Duration = Duration::from_secs(15);

type Frame = Result<Event, Infallible>;

/// The pieces of an answer, on the side of the client.
pub struct Frames {
    accepted: oneshot::Receiver<Result<(), ApiError>>,
    pieces: Receiver<Frame>,
}

/// Where pieces go.
pub struct Sink {
    accepted: Mutex<Option<oneshot::Sender<Result<(), ApiError>>>>,
    pieces: Sender<Frame>,
}

/// Both ends of a stream.
pub fn frames() -> (Sink, Frames) {
    let (sender, pieces) = channel(WAITING);
    let (accept, accepted) = oneshot::channel();
    (Sink { accepted: Mutex::new(Some(accept)), pieces: sender }, Frames { accepted, pieces })
}

/// The response to which `work` sends its pieces and `[DONE]`.
///
/// # Errors
/// What `work` returns before its first piece.
pub async fn streamed<W>(work: impl FnOnce(Arc<Sink>) -> W) -> Result<Response, ApiError>
where
    W: Future<Output = Result<(), ApiError>> + Send + 'static,
{
    let (sink, frames) = frames();
    let sink = Arc::new(sink);
    let work = work(sink.clone());
    tokio::spawn(async move { sink.finish(sink.while_read(work).await).await });
    frames.response().await
}

impl Frames {
    /// The response, once the request has been taken on.
    pub async fn response(self) -> Result<Response, ApiError> {
        self.accepted.await.unwrap_or_else(|_| Err(ApiError::internal("the answer could not be begun")))?;
        let alive = KeepAlive::new().interval(ALIVE).text("keep-alive");
        // nginx, if it stands before the server, passes pieces on as they come.
        let unbuffered = [("x-accel-buffering", "no")];
        Ok((unbuffered, Sse::new(ReceiverStream::new(self.pieces)).keep_alive(alive)).into_response())
    }
}

impl Sink {
    /// Waits until `running` has been taken on, and begins the response.
    pub async fn begin(&self, running: &mut Running<'_>) -> Result<(), ApiError> {
        running.accepted().await?;
        self.accept(Ok(()));
        Ok(())
    }

    /// Begins the response, if it has not begun.
    pub fn open(&self) {
        self.accept(Ok(()));
    }

    /// Says whether there will be pieces; false if that was said already.
    fn accept(&self, outcome: Result<(), ApiError>) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take();
        accepted.is_some_and(|accepted| accepted.send(outcome).is_ok())
    }

    /// Does `work` for as long as the client is there: of one that leaves before there is a piece for it, nobody else would know.
    pub async fn while_read(&self, work: impl Future<Output = Result<(), ApiError>>) -> Result<(), ApiError> {
        tokio::select! {
            outcome = work => outcome,
            () = self.pieces.closed() => Ok(()),
        }
    }

    /// Sends a piece; returns whether anybody still reads.
    pub async fn send(&self, piece: Value) -> bool {
        self.pieces.send(Ok(Event::default().data(piece.to_string()))).await.is_ok()
    }

    /// Sends a piece with the name of its kind; returns whether anybody still reads.
    pub async fn send_named(&self, name: &str, piece: Value) -> bool {
        self.pieces.send(Ok(Event::default().event(name).data(piece.to_string()))).await.is_ok()
    }

    /// Refuses the request with `error`; false if its response has begun.
    pub fn refuse(&self, error: &ApiError) -> bool {
        self.accept(Err(error.clone()))
    }

    /// Sends what went wrong, if anything, and the end.
    pub async fn finish(&self, outcome: Result<(), ApiError>) {
        if let Err(error) = outcome {
            if self.refuse(&error) {
                return;
            }
            self.send(error.body()).await;
        }
        let _ = self.pieces.send(Ok(Event::default().data("[DONE]"))).await;
    }
}

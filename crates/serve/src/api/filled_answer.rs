//! An answer that is written in [fillings](super::fillings), whole or piece by piece.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::ApiError;
use super::completions::Form;
use super::fillings::{Ended, Fillings, Said};
use super::job::lost;
use super::stream::{Sink, streamed};
use crate::Served;

/// Answers with `fillings`, piece by piece if it `streams`, at the end with what it has cost if `usage` is asked for.
pub async fn filled(
    served: Arc<Served>,
    fillings: Fillings,
    form: Form,
    streams: bool,
    usage: bool,
) -> Result<Response, ApiError> {
    let beginning = if form.echo { fillings.prompt().to_owned() } else { String::new() };
    let (sender, mut news) = unbounded_channel();
    fillings.start(served.clone(), sender)?;
    if streams {
        let work = |sink: Arc<Sink>| async move { stream(&served, news, &form, beginning, usage, &sink).await };
        return streamed(work).await;
    }
    let mut text = beginning;
    loop {
        match news.recv().await.ok_or_else(lost)? {
            Said::Piece(piece) => text.push_str(&piece),
            Said::End(ended) => {
                let ended = ended?;
                let mut whole = form.last(0, &text, ended.finish());
                tell(&served, &ended, &mut whole);
                return Ok(Json(whole).into_response());
            }
        }
    }
}

async fn stream(
    served: &Served,
    mut news: UnboundedReceiver<Said>,
    form: &Form,
    beginning: String,
    usage: bool,
    sink: &Sink,
) -> Result<(), ApiError> {
    let mut piece = beginning;
    loop {
        match news.recv().await.ok_or_else(lost)? {
            Said::Piece(more) => piece.push_str(&more),
            Said::End(ended) => {
                let ended = ended?;
                sink.open();
                sink.send(form.last(0, &piece, ended.finish())).await;
                if usage {
                    let mut last = form.head();
                    last["choices"] = json!([]);
                    tell(served, &ended, &mut last);
                    sink.send(last).await;
                }
                return Ok(());
            }
        }
        sink.open();
        if !piece.is_empty() && !sink.send(form.chunk(0, &std::mem::take(&mut piece), Value::Null)).await {
            return Ok(());
        }
    }
}

/// Adds what it has cost.
fn tell(served: &Served, ended: &Ended, answer: &mut Value) {
    answer["usage"] = ended.usage.usage(&served.model.engine);
    answer["timings"] = ended.usage.timings();
}

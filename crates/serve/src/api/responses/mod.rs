//! `POST /v1/responses`: a conversation that the server remembers, so that the next request can go on with it by name.

mod item;
mod output;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use headwise_engine::schedule::Finish;
use headwise_models::chat::{Message, Piece, ToolCallReader};
use serde_json::{Value, json};

use self::output::{Event, Output, status};
use self::request::ResponseRequest;
pub use self::request::TextFormat;
use super::generation::DEFAULT_TEMPERATURE;
use super::job::{Job, News, Running};
use super::schema::{Refused, ResponseEvent, ResponseObject};
use super::stream::{Sink, frames};
use super::tools::Tools;
use super::{ApiError, body, chat};
use crate::http::Body;
use crate::{App, Served};

/// Answers, and remembers what was said.
#[utoipa::path(post, path = "/v1/responses", request_body = ResponseRequest, responses(
    (
        status = 200,
        description = "The answer; with `stream`, server-sent events",
        content((ResponseObject = "application/json"), (ResponseEvent = "text/event-stream")),
    ),
    Refused,
))]
pub async fn responses(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Response, ApiError> {
    let request: ResponseRequest = body::parse(&bytes, app.options.lenient)?;
    let served = app.model(request.model.as_deref())?;
    request.check()?;
    let messages = request.messages(&app.remembered)?;
    let (tools, streams) = (request.tools()?, request.stream.unwrap_or(false));
    let asked = served.clone();
    let (conversation, job) = tokio::task::spawn_blocking(move || {
        let job = job(&asked, &request, &messages, &tools)?;
        let ids = [asked.id("resp"), asked.id("msg")];
        let [id, message] = ids;
        let conversation = Conversation { id, message, created: crate::names::now(), request, messages, tools };
        Ok::<_, ApiError>((conversation, job))
    })
    .await
    .map_err(|_| ApiError::internal("the conversation could not be read"))??;
    if streams {
        let (sink, frames) = frames();
        tokio::spawn(async move {
            if let Err(error) = sink.while_read(conversation.stream(&app, &served, job, &sink)).await
                && !sink.refuse(&error)
            {
                let mut piece = error.body();
                piece["type"] = json!("error");
                sink.send_named("error", piece).await;
            }
        });
        return frames.response().await;
    }
    let mut running = job.start(&served)?;
    let mut writing = Writing::new(&conversation);
    writing.begin();
    while let Some(news) = running.next().await? {
        running.observe(&served.times);
        writing.read(&served, news);
    }
    Ok(Json(conversation.complete(&app, &served, &running, writing)).into_response())
}

fn job(served: &Served, request: &ResponseRequest, messages: &[Message], tools: &Tools) -> Result<Job, ApiError> {
    let prompt = chat::prompt(served, &request.told(messages), tools, request.chat_template_kwargs.as_ref());
    let prompt = prompt.map_err(|error| error.renamed("messages", "input"))?;
    let ids = chat::tokens(served, &prompt)?;
    let job = chat::answer(served, &request.generation(), tools, &prompt, ids);
    job.map_err(|error| error.renamed("response_format", "text.format"))
}

/// What was said and asked, and how the answer names itself.
struct Conversation {
    id: String,
    /// Name of the first message of the answer.
    message: String,
    created: u64,
    request: ResponseRequest,
    messages: Vec<Message>,
    tools: Tools,
}

/// An answer as it is written.
struct Writing {
    output: Output,
    reader: Option<ToolCallReader>,
    finish: Finish,
}

impl Writing {
    fn new(conversation: &Conversation) -> Self {
        let told = &conversation.tools.told;
        let reader = (!told.is_empty()).then(|| ToolCallReader::new(told));
        Self { output: Output::new(conversation.message.clone()), reader, finish: Finish::Stop }
    }

    /// Begins a message at once if there is nothing else to come.
    fn begin(&mut self) -> Vec<Event> {
        if self.reader.is_none() { self.output.open(String::new) } else { Vec::new() }
    }

    /// What happens with the next piece.
    fn read(&mut self, served: &Served, news: News) -> Vec<Event> {
        let (text, end) = match news {
            News::Piece { text, .. } => (text, None),
            News::End { text, finish, .. } => (text, Some(finish)),
        };
        let pieces = match &mut self.reader {
            None => vec![Piece::Text(text)],
            Some(reader) => {
                let mut pieces = reader.push(&text);
                pieces.extend(end.iter().flat_map(|_| reader.finish()));
                pieces
            }
        };
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(match piece {
                Piece::Text(text) => self.output.write(&text, || served.id("msg")),
                Piece::Call(call) => self.output.call(&call, |kind| served.id(kind)),
            });
        }
        if let Some(finish) = end {
            self.finish = finish;
            events.extend(self.output.end(finish));
        }
        events
    }
}

impl Conversation {
    async fn stream(&self, app: &App, served: &Served, job: Job, sink: &Sink) -> Result<(), ApiError> {
        let mut running = job.start(served)?;
        sink.begin(&mut running).await?;
        let mut events = Numbered { sink, number: 0 };
        let begun = json!({ "response": self.response(served, "in_progress", &[]) });
        events.send("response.created", begun.clone()).await;
        events.send("response.in_progress", begun).await;
        let mut writing = Writing::new(self);
        events.send_all(writing.begin()).await;
        while let Some(news) = running.next().await? {
            running.observe(&served.times);
            if !events.send_all(writing.read(served, news)).await {
                return Ok(());
            }
        }
        let kind = format!("response.{}", status(writing.finish));
        // Remembered before the client hears that it can be gone on with.
        let answer = self.complete(app, served, &running, writing);
        events.send(&kind, json!({ "response": answer })).await;
        Ok(())
    }

    /// The response once all is written; remembers it.
    fn complete(&self, app: &App, served: &Served, running: &Running<'_>, writing: Writing) -> Value {
        let mut response = self.response(served, status(writing.finish), &writing.output.items());
        running.tell(served, &mut response);
        let usage = response["usage"].take();
        if writing.finish == Finish::Time {
            response["incomplete_details"]["reason"] = json!("max_seconds");
        }
        response["usage"] = json!({
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": usage["total_tokens"],
            "headwise": usage["headwise"],
        });
        if self.request.store.unwrap_or(true) {
            let messages = [self.messages.as_slice(), &[writing.output.message()]].concat();
            app.remembered.keep(self.id.clone(), messages);
        }
        response
    }

    /// The response with what has been written of it, and no usage yet.
    fn response(&self, served: &Served, status: &str, output: &[Value]) -> Value {
        let request = &self.request;
        let cut = status == "incomplete";
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status,
            "model": served.name(), "output": output, "error": null,
            "incomplete_details": cut.then(|| json!({ "reason": "max_output_tokens" })),
            "instructions": request.instructions, "previous_response_id": request.previous_response_id,
            "max_output_tokens": request.max_output_tokens, "temperature": request.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            "top_p": request.top_p.unwrap_or(1.0), "store": request.store.unwrap_or(true),
            "metadata": request.metadata.clone().unwrap_or_else(|| json!({})),
            "parallel_tool_calls": request.parallel_tool_calls.unwrap_or(true),
            "tool_choice": request.tool_choice.clone().unwrap_or_else(|| json!("auto")),
            "tools": request.tools.clone().unwrap_or_default(), "text": { "format": request.format() },
            "truncation": "disabled", "usage": null,
        })
    }
}

/// Numbers the events of a stream.
struct Numbered<'a> {
    sink: &'a Sink,
    number: usize,
}

impl Numbered<'_> {
    async fn send(&mut self, kind: &str, mut piece: Value) -> bool {
        piece["type"] = json!(kind);
        piece["sequence_number"] = json!(self.number);
        self.number += 1;
        self.sink.send_named(kind, piece).await
    }

    async fn send_all(&mut self, events: Vec<Event>) -> bool {
        for (kind, piece) in events {
            if !self.send(kind, piece).await {
                return false;
            }
        }
        true
    }
}

//! `POST /v1/responses`: a conversation that the server remembers, so that the next request can go on with it by name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use headwise_models::chat::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::generation::{DEFAULT_TEMPERATURE, GenerationRequest};
use super::job::{Job, News, Running};
use super::message::{ChatMessage, conversation};
use super::shared::Shared;
use super::stream::{Sink, frames};
use super::tools::Tools;
use super::{ApiError, body, chat};
use crate::App;
use crate::http::Body;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send what changes nothing here")]
struct ResponseRequest {
    model: Option<String>,
    input: Option<Input>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    stream: Option<bool>,
    max_output_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    store: Option<bool>,
    seed: Option<i64>,
    cache: Option<String>,
    text: Option<Value>,
    metadata: Option<Value>,
    user: Option<String>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    truncation: Option<String>,
    include: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// A message among the input.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send what changes nothing here")]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    status: Option<String>,
    #[serde(flatten)]
    message: ChatMessage,
}

/// Answers, and remembers what was said.
#[utoipa::path(post, path = "/v1/responses", request_body = ResponseRequest, responses(
    (status = 200, description = "The answer; with `stream`, server-sent events"),
    (status = "4XX", description = "What is wrong with the request, as `error`"),
    (status = 503, description = "The server is stopping"),
))]
pub async fn responses(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Response, ApiError> {
    let request: ResponseRequest = body::parse(&bytes, app.options.lenient)?;
    app.check_model(request.model.as_deref())?;
    request.check()?;
    let messages = request.messages(&app)?;
    let streams = request.stream.unwrap_or(false);
    let asked = app.clone();
    let (request, messages, job) = tokio::task::spawn_blocking(move || {
        let generation = request.generation();
        let ids = chat::tokens(&asked, &chat::prompt(&asked, &request.told(&messages), &Tools::default())?)?;
        let job = generation.job(&asked, vec![ids])?;
        Ok::<_, ApiError>((request, messages, job))
    })
    .await
    .map_err(|_| ApiError::internal("the conversation could not be read"))??;
    let form = Form { id: app.id("resp"), message: app.id("msg"), created: crate::app::now(), request };
    if streams {
        let (sink, frames) = frames();
        tokio::spawn(async move {
            if let Err(error) = stream(&app, job, &form, messages, &sink).await
                && !sink.refuse(&error)
            {
                let mut piece = error.body();
                piece["type"] = json!("error");
                sink.send_named("error", piece).await;
            }
        });
        return frames.response().await;
    }
    let mut running = job.start(&app)?;
    let (mut text, mut finish) = (String::new(), "stop");
    while let Some(news) = running.next().await? {
        running.observe(&app.metrics);
        match news {
            News::Piece { text: piece, .. } => text.push_str(&piece),
            News::End { text: piece, finish: end, .. } => {
                text.push_str(&piece);
                finish = end;
            }
        }
    }
    let answer = form.response(&app, Some((&running, &text, finish)));
    form.remember(&app, messages, text);
    Ok(Json(answer).into_response())
}

impl ResponseRequest {
    fn check(&self) -> Result<(), ApiError> {
        let refused = |name: &str, what: &str| Err(ApiError::parameter(name, format!("`{name}`: {what}")));
        let format = self.text.as_ref().and_then(|text| text.pointer("/format/type")).and_then(Value::as_str);
        match () {
            () if self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) => {
                refused("tools", "responses call no functions here: ask /v1/chat/completions")
            }
            () if format.is_some_and(|format| format != "text") => {
                refused("text", "responses are plain text here: ask /v1/chat/completions with response_format")
            }
            () if self.truncation.as_deref().is_some_and(|truncation| truncation != "disabled") => {
                refused("truncation", "a conversation is never cut: choose a cache policy instead")
            }
            () => Ok(()),
        }
    }

    /// The conversation so far: what the server remembers, and the input.
    fn messages(&self, app: &App) -> Result<Vec<Message>, ApiError> {
        let mut messages = match self.previous_response_id.as_deref() {
            None => Vec::new(),
            Some(id) => app.remembered.find(id).ok_or_else(|| {
                let message = format!("the response `{id}` is not remembered: send the whole conversation as `input`");
                ApiError::parameter("previous_response_id", message)
            })?,
        };
        messages.extend(match &self.input {
            None => return Err(ApiError::parameter("input", "input is missing")),
            Some(Input::Text(text)) => vec![Message::user(text)],
            Some(Input::Items(items)) => {
                if let Some(kind) = items.iter().find_map(|item| item.kind.as_deref().filter(|kind| *kind != "message"))
                {
                    return Err(ApiError::parameter("input", format!("an item of type `{kind}`: messages are taken")));
                }
                let items: Vec<ChatMessage> = items.iter().map(|item| item.message.clone()).collect();
                let mut shared = Shared::new(&items);
                let messages = conversation(&items, &mut shared)?;
                if !shared.is_empty() {
                    let message = "responses share no texts here: ask /v1/chat/completions";
                    return Err(ApiError::parameter("input", message));
                }
                messages
            }
        });
        Ok(messages)
    }

    /// The conversation with the instructions before it.
    fn told(&self, messages: &[Message]) -> Vec<Message> {
        self.instructions.iter().map(Message::system).chain(messages.iter().cloned()).collect()
    }

    fn generation(&self) -> GenerationRequest {
        GenerationRequest {
            max_tokens: self.max_output_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            cache: self.cache.clone(),
            ..GenerationRequest::default()
        }
    }
}

/// How the answer names itself, and what was asked.
struct Form {
    id: String,
    message: String,
    created: u64,
    request: ResponseRequest,
}

impl Form {
    fn remember(&self, app: &App, mut messages: Vec<Message>, text: String) {
        if self.request.store.unwrap_or(true) {
            messages.push(Message::assistant(text));
            app.remembered.keep(self.id.clone(), messages);
        }
    }

    fn part(text: &str) -> Value {
        json!({ "type": "output_text", "text": text, "annotations": [] })
    }

    fn item(&self, text: Option<&str>) -> Value {
        let status = if text.is_some() { "completed" } else { "in_progress" };
        let content: Vec<Value> = text.map(Self::part).into_iter().collect();
        json!({ "type": "message", "id": self.message, "status": status, "role": "assistant", "content": content })
    }

    /// The response: in progress, or complete with its text and why it ended.
    fn response(&self, app: &App, complete: Option<(&Running<'_>, &str, &str)>) -> Value {
        let request = &self.request;
        let cut = matches!(complete, Some((_, _, "length")));
        let status = match complete {
            None => "in_progress",
            Some(_) if cut => "incomplete",
            Some(_) => "completed",
        };
        let output: Vec<Value> = complete.iter().map(|(_, text, _)| self.item(Some(text))).collect();
        let mut response = json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status,
            "model": app.model.name, "output": output, "error": null,
            "incomplete_details": cut.then(|| json!({ "reason": "max_output_tokens" })),
            "instructions": request.instructions, "previous_response_id": request.previous_response_id,
            "max_output_tokens": request.max_output_tokens, "temperature": request.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            "top_p": request.top_p.unwrap_or(1.0), "store": request.store.unwrap_or(true),
            "metadata": request.metadata.clone().unwrap_or_else(|| json!({})), "parallel_tool_calls": false,
            "tool_choice": "auto", "tools": [], "text": { "format": { "type": "text" } }, "truncation": "disabled",
            "usage": null,
        });
        if let Some((running, ..)) = complete {
            running.tell(app, &mut response);
            let usage = response["usage"].take();
            response["usage"] = json!({
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"],
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": usage["total_tokens"],
                "headwise": usage["headwise"],
            });
        }
        response
    }
}

/// Numbers the events of a stream.
struct Events<'a> {
    sink: &'a Sink,
    number: usize,
}

impl Events<'_> {
    async fn send(&mut self, kind: &str, mut piece: Value) -> bool {
        piece["type"] = json!(kind);
        piece["sequence_number"] = json!(self.number);
        self.number += 1;
        self.sink.send_named(kind, piece).await
    }
}

async fn stream(app: &App, job: Job, form: &Form, messages: Vec<Message>, sink: &Sink) -> Result<(), ApiError> {
    let mut running = job.start(app)?;
    sink.begin(&mut running).await?;
    let mut events = Events { sink, number: 0 };
    let place = json!({ "item_id": form.message, "output_index": 0, "content_index": 0 });
    let at = |more: Value| {
        let mut piece = place.clone();
        if let (Value::Object(piece), Value::Object(more)) = (&mut piece, more) {
            piece.extend(more);
        }
        piece
    };
    let begun = json!({ "response": form.response(app, None) });
    events.send("response.created", begun.clone()).await;
    events.send("response.in_progress", begun).await;
    events.send("response.output_item.added", json!({ "output_index": 0, "item": form.item(None) })).await;
    events.send("response.content_part.added", at(json!({ "part": Form::part("") }))).await;
    let (mut text, mut finish) = (String::new(), "stop");
    while let Some(news) = running.next().await? {
        running.observe(&app.metrics);
        let piece = match news {
            News::Piece { text, .. } => text,
            News::End { text, finish: end, .. } => {
                finish = end;
                text
            }
        };
        if piece.is_empty() {
            continue;
        }
        text.push_str(&piece);
        if !events.send("response.output_text.delta", at(json!({ "delta": piece, "logprobs": [] }))).await {
            return Ok(());
        }
    }
    events.send("response.output_text.done", at(json!({ "text": text, "logprobs": [] }))).await;
    events.send("response.content_part.done", at(json!({ "part": Form::part(&text) }))).await;
    events.send("response.output_item.done", json!({ "output_index": 0, "item": form.item(Some(&text)) })).await;
    let answer = form.response(app, Some((&running, &text, finish)));
    let kind = if finish == "length" { "response.incomplete" } else { "response.completed" };
    // Remembered before the client hears that it can be gone on with.
    form.remember(app, messages, text);
    events.send(kind, json!({ "response": answer })).await;
    Ok(())
}

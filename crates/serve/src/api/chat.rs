//! `POST /v1/chat/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use headwise_engine::TokenLogProbabilities;
use headwise_models::chat::Message;
use headwise_models::tokenizer::Encode;
use serde_json::{Value, json};

use super::answer::chat_log_probabilities;
use super::generation::GenerationRequest;
use super::job::{Job, News, Running};
use super::message::conversation;
use super::stream::{Frames, Sink};
use super::{ApiError, body, insight};
use crate::App;
use crate::http::Body;

/// Answers a conversation.
pub async fn chat(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Response, ApiError> {
    let request: GenerationRequest = body::parse(&bytes, app.options.lenient)?;
    request.check_model(&app)?;
    request.refuse("prompt", request.prompt.is_some())?;
    request.refuse("suffix", request.suffix.is_some())?;
    request.refuse("echo", request.echo.is_some())?;
    let form = Form { id: app.id("chatcmpl"), created: crate::app::now(), model: app.model.name.clone() };
    let (streams, usage) = (request.stream.unwrap_or(false), request.includes_usage());
    let asked = app.clone();
    // Long conversations take a while to become tokens.
    let (request, job) = tokio::task::spawn_blocking(move || {
        let job = job(&asked, &request)?;
        Ok::<_, ApiError>((request, job))
    })
    .await
    .map_err(|_| ApiError::internal("the conversation could not be read"))??;
    let insight = request.headwise.unwrap_or_default();
    if streams {
        let frames = Frames::new();
        let sink = frames.sink();
        tokio::spawn(async move { sink.finish(stream(&app, job, &form, insight, usage, &sink).await).await });
        return Ok(frames.into_response());
    }
    let prompt = job.prompts[0].clone();
    let mut running = job.start(&app)?;
    let answers = collect(&app, &mut running, &prompt, request.answers()?, insight).await?;
    Ok(Json(form.whole(&app, &running, answers)).into_response())
}

fn job(app: &App, request: &GenerationRequest) -> Result<Job, ApiError> {
    let messages = request.messages.as_deref().ok_or_else(|| ApiError::parameter("messages", "messages is missing"))?;
    request.job(app, vec![tokens(app, &conversation(messages)?)?])
}

/// The tokens of a conversation, ready for the answer.
pub fn tokens(app: &App, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
    let template = app.model.template.as_ref().ok_or_else(|| {
        let name = &app.model.name;
        ApiError::invalid(format!("`{name}` has no chat template: it continues texts, which /v1/completions asks for"))
    })?;
    let text = template.render(messages, true).map_err(|error| ApiError::parameter("messages", error.to_string()))?;
    app.model.tokenizer.encode(&text, Encode::TEMPLATE).map_err(|error| ApiError::invalid(error.to_string()))
}

/// How the answer names itself.
struct Form {
    id: String,
    created: u64,
    model: String,
}

/// A finished answer.
#[derive(Default)]
struct Choice {
    text: String,
    log_probabilities: Vec<TokenLogProbabilities>,
    finish: &'static str,
    insight: Value,
}

async fn collect(
    app: &App,
    running: &mut Running<'_>,
    prompt: &[u32],
    answers: usize,
    asked: super::generation::Insight,
) -> Result<Vec<Choice>, ApiError> {
    let mut choices: Vec<Choice> = std::iter::repeat_with(Choice::default).take(answers).collect();
    while let Some(news) = running.next().await? {
        match news {
            News::Piece { answer, text, log_probabilities, .. } => {
                choices[answer].text.push_str(&text);
                choices[answer].log_probabilities.extend(log_probabilities);
            }
            News::End { answer, text, finish, sequence } => {
                choices[answer].text.push_str(&text);
                choices[answer].finish = finish;
                let ids = [prompt, running.ids(answer)].concat();
                choices[answer].insight = insight::of(app, asked, &ids, prompt.len(), sequence.as_deref()).await?;
            }
        }
        running.observe(&app.metrics);
    }
    Ok(choices)
}

async fn stream(
    app: &App,
    job: Job,
    form: &Form,
    asked: super::generation::Insight,
    usage: bool,
    sink: &Sink,
) -> Result<(), ApiError> {
    let prompt = job.prompts[0].clone();
    let mut tokens = vec![0usize; job.samplers.len()];
    let with_log_probabilities = job.likeliest.is_some();
    let mut running = job.start(app)?;
    for index in 0..tokens.len() {
        let delta = json!({ "role": "assistant", "content": "" });
        if !sink.send(form.chunk(index, &delta, &Value::Null, None)).await {
            return Ok(());
        }
    }
    let mut insights = Value::Null;
    while let Some(news) = running.next().await? {
        running.observe(&app.metrics);
        let chunk = match news {
            News::Piece { answer, text, log_probabilities, bytes } => {
                tokens[answer] += 1;
                if text.is_empty() && log_probabilities.is_none() && bytes.is_none() {
                    continue;
                }
                let likely: Vec<_> = log_probabilities.into_iter().collect();
                let likely = match with_log_probabilities {
                    true => chat_log_probabilities(&app.model.tokenizer, &likely),
                    false => Value::Null,
                };
                let mut chunk = form.chunk(answer, &json!({ "content": text }), &likely, None);
                if let Some(bytes) = bytes {
                    chunk["headwise"] = json!({ "kv_bytes": bytes, "tokens": tokens[answer] });
                }
                chunk
            }
            News::End { answer, text, finish, sequence } => {
                if !text.is_empty() {
                    let delta = json!({ "content": text });
                    if !sink.send(form.chunk(answer, &delta, &Value::Null, None)).await {
                        return Ok(());
                    }
                }
                let ids = [&prompt[..], running.ids(answer)].concat();
                insights = insight::of(app, asked, &ids, prompt.len(), sequence.as_deref()).await?;
                form.chunk(answer, &json!({}), &Value::Null, Some(finish))
            }
        };
        if !sink.send(chunk).await {
            return Ok(());
        }
    }
    if usage {
        let mut last = form.head("chat.completion.chunk");
        last["choices"] = json!([]);
        running.tell(app, &mut last);
        if !insights.is_null() {
            last["headwise"] = insights;
        }
        sink.send(last).await;
    }
    Ok(())
}

impl Form {
    fn head(&self, object: &str) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model })
    }

    fn chunk(&self, index: usize, delta: &Value, log_probabilities: &Value, finish: Option<&str>) -> Value {
        let mut chunk = self.head("chat.completion.chunk");
        chunk["choices"] = json!([
            { "index": index, "delta": delta, "logprobs": log_probabilities, "finish_reason": finish }
        ]);
        chunk
    }

    fn whole(&self, app: &App, running: &Running<'_>, choices: Vec<Choice>) -> Value {
        let mut whole = self.head("chat.completion");
        let mut insight = Value::Null;
        let choice = |(index, choice): (usize, Choice)| {
            insight = choice.insight;
            let likely = match choice.log_probabilities.as_slice() {
                [] => Value::Null,
                tokens => chat_log_probabilities(&app.model.tokenizer, tokens),
            };
            let message = json!({ "role": "assistant", "content": choice.text, "refusal": null });
            json!({ "index": index, "message": message, "logprobs": likely, "finish_reason": choice.finish })
        };
        whole["choices"] = choices.into_iter().enumerate().map(choice).collect();
        running.tell(app, &mut whole);
        if !insight.is_null() {
            whole["headwise"] = insight;
        }
        whole
    }
}

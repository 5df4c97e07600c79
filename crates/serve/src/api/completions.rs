//! `POST /v1/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use headwise_engine::schedule::Finish;
use headwise_engine::{Decoding, TokenLogProbabilities};
use serde_json::{Value, json};

use super::answer::{completion_log_probabilities, finish_reason, tell_stop_reason};
use super::fields::PromptInput;
use super::filled_answer::filled;
use super::fillings::Fillings;
use super::generation::GenerationRequest;
use super::insight::Shown;
use super::job::{Job, News};
use super::message::{Taken, joined};
use super::placed::Placed;
use super::schema::{Refused, TextCompletion};
use super::stream::{Sink, streamed};
use super::{ApiError, body};
use crate::http::Body;
use crate::{App, Served};

/// Continues one text or several.
#[utoipa::path(post, path = "/v1/completions", request_body = GenerationRequest, responses(
    (
        status = 200,
        description = "The answer; with `stream`, server-sent events, of which `[DONE]` is the last",
        content((TextCompletion = "application/json"), (TextCompletion = "text/event-stream")),
    ),
    Refused,
))]
pub async fn completions(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Response, ApiError> {
    let request: GenerationRequest = body::parse(&bytes, app.options.lenient)?;
    let served = app.model(request.model.as_deref())?;
    request.refuse("messages", request.messages.is_some())?;
    request.refuse("tools", request.tools.is_some())?;
    request.refuse("chat_template_kwargs", request.chat_template_kwargs.is_some())?;
    if request.suffix.is_some() {
        return Err(ApiError::parameter("suffix", "suffix is not known here: texts are written from left to right"));
    }
    let form = Form {
        id: served.id("cmpl"),
        created: crate::names::now(),
        model: served.name().to_owned(),
        echo: request.echo.unwrap_or(false),
    };
    let (streams, usage) = (request.stream.unwrap_or(false), request.includes_usage());
    let asked = served.clone();
    if let Some(Decoding::Sap(method)) = request.decoding()? {
        let fillings = tokio::task::spawn_blocking(move || Fillings::of(&asked, &request, method)).await;
        let fillings = fillings.map_err(|_| ApiError::internal("the prompt could not be read"))??;
        return filled(served, fillings, form, streams, usage).await;
    }
    let job = tokio::task::spawn_blocking(move || job(&asked, &request))
        .await
        .map_err(|_| ApiError::internal("the prompt could not be read"))??;
    if streams {
        return streamed(|sink| async move { stream(&served, job, &form, usage, &sink).await }).await;
    }
    Ok(Json(whole(&served, job, &form).await?).into_response())
}

fn job(served: &Served, request: &GenerationRequest) -> Result<Job, ApiError> {
    let prompt = request.prompt.as_ref().ok_or_else(|| ApiError::parameter("prompt", "prompt is missing"))?;
    let (prompts, placed) = match prompt {
        PromptInput::Parts(parts) => {
            let mut taken = Taken::new(parts.iter().flat_map(|part| &part.text).map(String::as_str));
            let text = joined(parts, &mut taken, "prompt")?;
            taken.check("prompt")?;
            let placed = Placed::of(&taken, &text, true, &served.model, "prompt")?;
            let ids =
                placed.ids().map_or_else(|| PromptInput::Text(text).tokens(served, "prompt"), |ids| Ok(vec![ids]))?;
            (ids, placed)
        }
        prompt => (prompt.tokens(served, "prompt")?, Placed::Nothing),
    };
    let mut job = request.job(served, prompts)?.with(placed)?;
    if job.prompts.len() > 1 && job.insight.shows() {
        let message = "`headwise` tells of one prompt: ask for each by itself";
        return Err(ApiError::parameter("headwise", message));
    }
    job.begin_forms_after(request.form_after.as_deref());
    Ok(job)
}

/// How the answer names itself, and whether it repeats the prompt.
pub struct Form {
    id: String,
    created: u64,
    model: String,
    /// Whether it repeats the prompt.
    pub echo: bool,
}

#[derive(Default)]
struct Choice {
    text: String,
    log_probabilities: Vec<TokenLogProbabilities>,
    finish: Option<Finish>,
}

impl Form {
    /// What every answer and every piece of one begins with.
    pub fn head(&self) -> Value {
        json!({ "id": self.id, "object": "text_completion", "created": self.created, "model": self.model })
    }

    /// A piece of answer number `index`.
    pub fn chunk(&self, index: usize, text: &str, log_probabilities: Value) -> Value {
        let mut chunk = self.head();
        chunk["choices"] =
            json!([{ "index": index, "text": text, "logprobs": log_probabilities, "finish_reason": null }]);
        chunk
    }

    /// The last piece of answer number `index`.
    pub fn last(&self, index: usize, text: &str, finish: Finish) -> Value {
        let mut chunk = self.chunk(index, text, Value::Null);
        chunk["choices"][0]["finish_reason"] = json!(finish_reason(finish));
        tell_stop_reason(&mut chunk["choices"][0], finish);
        chunk
    }

    /// What the answers to every prompt begin with.
    fn beginnings(&self, served: &Served, job: &Job) -> Vec<String> {
        let text = |ids: &Vec<u32>| if self.echo { served.model.tokenizer.decode(ids, true) } else { String::new() };
        job.prompts.iter().flat_map(|ids| std::iter::repeat_n(text(ids), job.samplers.len())).collect()
    }
}

async fn whole(served: &Served, job: Job, form: &Form) -> Result<Value, ApiError> {
    let beginnings = form.beginnings(served, &job);
    let begin = |text: &String| Choice { text: text.clone(), ..Choice::default() };
    let mut choices: Vec<Choice> = beginnings.iter().map(begin).collect();
    let with_log_probabilities = job.likeliest.is_some();
    let mut shown = Shown::new(served, &job);
    let mut running = job.start(served)?;
    while let Some(news) = running.next().await? {
        running.observe(&served.times);
        match news {
            News::Piece { answer, text, log_probabilities, .. } => {
                choices[answer].text.push_str(&text);
                choices[answer].log_probabilities.extend(log_probabilities);
            }
            News::End { answer, text, finish, sequence } => {
                choices[answer].text.push_str(&text);
                choices[answer].finish = Some(finish);
                shown.end(answer, running.ids(answer), sequence.as_deref()).await?;
            }
        }
    }
    let mut whole = form.head();
    let choice = |(index, (choice, beginning)): (usize, (&Choice, &String))| {
        let offset = beginning.chars().count();
        let likely = completion_log_probabilities(&served.model.tokenizer, &choice.log_probabilities, offset);
        let likely = if with_log_probabilities { likely } else { Value::Null };
        let finish = choice.finish.unwrap_or(Finish::Stop);
        let reason = finish_reason(finish);
        let mut said = json!({ "index": index, "text": choice.text, "logprobs": likely, "finish_reason": reason });
        tell_stop_reason(&mut said, finish);
        said
    };
    whole["choices"] = choices.iter().zip(&beginnings).enumerate().map(choice).collect();
    running.tell(served, &mut whole);
    shown.tell(&mut whole);
    Ok(whole)
}

async fn stream(served: &Served, job: Job, form: &Form, usage: bool, sink: &Sink) -> Result<(), ApiError> {
    let beginnings = form.beginnings(served, &job);
    let mut shown = Shown::new(served, &job);
    let mut offsets: Vec<usize> = beginnings.iter().map(|text| text.chars().count()).collect();
    let mut running = job.start(served)?;
    sink.begin(&mut running).await?;
    for (index, text) in beginnings.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        sink.send(form.chunk(index, text, Value::Null)).await;
    }
    let mut tokens = vec![0usize; beginnings.len()];
    while let Some(news) = running.next().await? {
        running.observe(&served.times);
        let chunk = match news {
            News::Piece { answer, text, log_probabilities, bytes } => {
                tokens[answer] += 1;
                if text.is_empty() && log_probabilities.is_none() && bytes.is_none() {
                    continue;
                }
                let offset = offsets[answer];
                offsets[answer] += text.chars().count();
                let likely = log_probabilities
                    .map(|token| completion_log_probabilities(&served.model.tokenizer, &[token], offset));
                let mut chunk = form.chunk(answer, &text, likely.unwrap_or_default());
                if let Some(bytes) = bytes {
                    chunk["headwise"] = json!({ "kv_bytes": bytes, "tokens": tokens[answer] });
                }
                chunk
            }
            News::End { answer, text, finish, sequence } => {
                shown.end(answer, running.ids(answer), sequence.as_deref()).await?;
                form.last(answer, &text, finish)
            }
        };
        if !sink.send(chunk).await {
            return Ok(());
        }
    }
    if usage {
        let mut last = form.head();
        last["choices"] = json!([]);
        running.tell(served, &mut last);
        shown.tell(&mut last);
        sink.send(last).await;
    }
    Ok(())
}

//! `POST /v1/chat/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use headwise_engine::Decoding;
use headwise_models::chat::{Message, reasoning_end};
use headwise_models::tokenizer::Encode;

use super::chat_answer::Form;
use super::form::hold;
use super::generation::GenerationRequest;
use super::job::Job;
use super::marks::texts;
use super::message::{Taken, conversation};
use super::placed::Placed;
use super::schema::{ChatChunk, ChatCompletion, Refused};
use super::stream::streamed;
use super::template::{self, Variables};
use super::tools::Tools;
use super::{ApiError, body};
use crate::http::Body;
use crate::{App, Served};

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", request_body = GenerationRequest, responses(
    (
        status = 200,
        description = "The answer; with `stream`, server-sent events, of which `[DONE]` is the last",
        content((ChatCompletion = "application/json"), (ChatChunk = "text/event-stream")),
    ),
    Refused,
))]
pub async fn chat(State(app): State<Arc<App>>, Body(bytes): Body) -> Result<Response, ApiError> {
    let request: GenerationRequest = body::parse(&bytes, app.options.lenient)?;
    let served = app.model(request.model.as_deref())?;
    request.refuse("prompt", request.prompt.is_some())?;
    request.refuse("suffix", request.suffix.is_some())?;
    request.refuse("echo", request.echo.is_some())?;
    request.refuse("decoding", matches!(request.decoding()?, Some(Decoding::Sap(_))))?;
    let tools = Tools::new(request.tools.as_deref().unwrap_or_default(), request.tool_choice.as_ref())?;
    let form = Form::new(&served, tools.told.clone());
    let (streams, usage) = (request.stream.unwrap_or(false), request.includes_usage());
    let asked = served.clone();
    // Long conversations take a while to become tokens, and forms to be prepared.
    let job = tokio::task::spawn_blocking(move || job(&asked, &request, &tools))
        .await
        .map_err(|_| ApiError::internal("the conversation could not be read"))??;
    if streams {
        return streamed(|sink| async move { form.stream(&served, job, usage, &sink).await }).await;
    }
    Ok(Json(form.whole(&served, job).await?).into_response())
}

fn job(served: &Served, request: &GenerationRequest, tools: &Tools) -> Result<Job, ApiError> {
    let messages = request.messages.as_deref().ok_or_else(|| ApiError::parameter("messages", "messages is missing"))?;
    let mut taken = Taken::new(texts(messages));
    let conversation = conversation(messages, &mut taken)?;
    taken.check("messages")?;
    let prompt = prompt(served, &conversation, tools, request.chat_template_kwargs.as_ref())?;
    let placed = Placed::of(&taken, &prompt, false, &served.model, "messages")?;
    let ids = placed.ids().map_or_else(|| tokens(served, &prompt), Ok)?;
    answer(served, request, tools, &prompt, ids)?.with(placed)
}

/// The job of answering `prompt`, whose tokens are `ids`, as the request says, where functions may be called.
pub fn answer(
    served: &Served,
    request: &GenerationRequest,
    tools: &Tools,
    prompt: &str,
    ids: Vec<u32>,
) -> Result<Job, ApiError> {
    let mut job = request.job(served, vec![ids])?;
    // Marks of calls are control tokens.
    job.special = !tools.told.is_empty();
    if let Some(spec) = &tools.form {
        let first = hold(served, spec, "tool_choice", job.samplers[0].clone())?;
        job.samplers = (0..job.samplers.len() as u64).map(|answer| first.number(answer)).collect();
    }
    job.begin_forms_after(request.form_after.as_deref().or_else(|| reasoning_end(prompt)));
    Ok(job)
}

/// The text of a conversation, ready for the answer; the template finds `variables` too.
pub fn prompt(
    served: &Served,
    messages: &[Message],
    tools: &Tools,
    variables: Option<&Variables>,
) -> Result<String, ApiError> {
    let template = served.model.template.as_ref().ok_or_else(|| {
        let name = &served.model.name;
        ApiError::invalid(format!(
            "`{name}` has no chat template: it continues texts, which /v1/completions asks for (or serve it with --chat-template)"
        ))
    })?;
    let none = Variables::new();
    let variables = variables.unwrap_or(&none);
    template::check(variables, template, served.lenient)?;
    tools.render(template, messages, variables)
}

/// The tokens of such a text.
pub fn tokens(served: &Served, prompt: &str) -> Result<Vec<u32>, ApiError> {
    served.model.tokenizer.encode(prompt, Encode::TEMPLATE).map_err(|error| ApiError::invalid(error.to_string()))
}

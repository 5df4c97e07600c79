//! What a request for a response may say.

use headwise_models::chat::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::ApiError;
use super::super::form::{NamedSchema, ResponseFormat};
use super::super::generation::GenerationRequest;
use super::super::marks::texts;
use super::super::message::{Taken, conversation};
use super::super::template::Variables;
use super::super::tools::{FunctionName, ToolChoice, Tools};
use super::item::{Input, turns};
use crate::remembered::Remembered;

/// The body of the request.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send what changes nothing here")]
pub struct ResponseRequest {
    /// Name of the model; the first that is served if not given.
    pub model: Option<String>,
    /// What is said: a text, or messages, calls and what those returned.
    input: Option<Input>,
    /// What the model is told before the conversation; not remembered.
    pub instructions: Option<String>,
    /// The response that this one goes on with.
    pub previous_response_id: Option<String>,
    /// Whether the answer comes piece by piece.
    pub stream: Option<bool>,
    /// Not used.
    stream_options: Option<Value>,
    /// Most tokens of the answer.
    pub max_output_tokens: Option<usize>,
    /// Most seconds of the answer, from when the request leaves the queue, and most that it waits there; the server's if that is less.
    max_seconds: Option<f64>,
    /// Randomness; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// Draw from the likeliest tokens that hold this share of the probability.
    pub top_p: Option<f32>,
    /// Whether the server remembers the response; yes if not given.
    pub store: Option<bool>,
    /// Seed of the draws; another one for every request if not given.
    seed: Option<i64>,
    /// The cache policy; that of the server if not given.
    cache: Option<String>,
    /// When a token of the answer leaves the model, such as `early_exit(layer=10)`; after the last layer if not given.
    exit: Option<String>,
    /// Variables of the model's chat template; `/props` says which it looks at.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Variables>,
    /// The form of the answer.
    text: Option<TextOptions>,
    /// Comes back with the answer.
    pub metadata: Option<Value>,
    /// Not used.
    user: Option<String>,
    /// Not used.
    safety_identifier: Option<String>,
    /// Not used: beginnings are found by themselves.
    prompt_cache_key: Option<String>,
    /// Not used.
    service_tier: Option<String>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Whether it may or must: `none`, `auto`, `required`, or `{"type": "function", "name": …}`.
    pub tool_choice: Option<Value>,
    /// Not used: the model decides.
    pub parallel_tool_calls: Option<bool>,
    /// Only `disabled` is taken.
    truncation: Option<String>,
    /// Not used.
    include: Option<Vec<String>>,
}

/// How the text of an answer is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send what changes nothing here")]
struct TextOptions {
    /// Its form; any text if not given.
    format: Option<TextFormat>,
    /// Not used.
    verbosity: Option<String>,
}

/// The form of an answer, as responses name it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that follows a schema, and what that is called.
    JsonSchema {
        /// The schema.
        schema: Value,
        /// Not used.
        #[serde(default)]
        name: Option<String>,
        /// Not used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Not used: schemas are always followed.
        #[serde(default)]
        strict: Option<bool>,
    },
    /// One of some texts.
    Choice {
        /// The texts.
        choices: Vec<String>,
    },
    /// A text that matches a regular expression.
    Regex {
        /// The expression.
        regex: String,
    },
    /// A text of a grammar in the form of Lark.
    Grammar {
        /// The grammar.
        grammar: String,
    },
}

impl From<TextFormat> for ResponseFormat {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::Text => Self::Text,
            TextFormat::JsonObject => Self::JsonObject,
            TextFormat::JsonSchema { schema, name, description, strict } => {
                Self::JsonSchema { json_schema: NamedSchema { schema, name, description, strict } }
            }
            TextFormat::Choice { choices } => Self::Choice { choices },
            TextFormat::Regex { regex } => Self::Regex { regex },
            TextFormat::Grammar { grammar } => Self::Grammar { grammar },
        }
    }
}

impl ResponseRequest {
    /// Refuses what cannot be done.
    pub fn check(&self) -> Result<(), ApiError> {
        match self.truncation.as_deref() {
            None | Some("disabled") => Ok(()),
            Some(_) => {
                let message = "`truncation`: a conversation is never cut: choose a cache policy instead";
                Err(ApiError::parameter("truncation", message))
            }
        }
    }

    /// The conversation so far: what is remembered, and the input.
    pub fn messages(&self, remembered: &Remembered) -> Result<Vec<Message>, ApiError> {
        let mut messages = match self.previous_response_id.as_deref() {
            None => Vec::new(),
            Some(id) => remembered.find(id).ok_or_else(|| {
                let message = format!("the response `{id}` is not remembered: send the whole conversation as `input`");
                ApiError::parameter("previous_response_id", message)
            })?,
        };
        messages.extend(match &self.input {
            None => return Err(ApiError::parameter("input", "input is missing")),
            Some(Input::Text(text)) => vec![Message::user(text)],
            Some(Input::Items(items)) => {
                let turns = turns(items)?;
                let mut taken = Taken::new(texts(&turns));
                let read = conversation(&turns, &mut taken).map_err(|error| error.renamed("messages", "input"))?;
                if !taken.is_empty() {
                    let message = "responses have no `shared` texts or `segment`s: ask /v1/chat/completions";
                    return Err(ApiError::parameter("input", message));
                }
                read
            }
        });
        match unasked(&messages) {
            None => Ok(messages),
            Some(id) => {
                let message = format!("a function returned for the call `{id}`, which nobody has made");
                Err(ApiError::parameter("input", message))
            }
        }
    }

    /// `messages` with the instructions before them.
    pub fn told(&self, messages: &[Message]) -> Vec<Message> {
        self.instructions.iter().map(Message::system).chain(messages.iter().cloned()).collect()
    }

    /// The functions that may be called.
    pub fn tools(&self) -> Result<Tools, ApiError> {
        let tools: Result<Vec<Value>, ApiError> =
            self.tools.iter().flatten().enumerate().map(|(index, tool)| function(index, tool)).collect();
        let choice = match &self.tool_choice {
            None => None,
            Some(Value::String(mode)) => Some(ToolChoice::Mode(mode.clone())),
            Some(choice) => match (&choice["type"], &choice["name"]) {
                (Value::String(kind), Value::String(name)) if kind == "function" => {
                    Some(ToolChoice::Function { kind: kind.clone(), function: FunctionName { name: name.clone() } })
                }
                _ => {
                    let message = "tool_choice must be none, auto, required or {\"type\": \"function\", \"name\": …}";
                    return Err(ApiError::parameter("tool_choice", message));
                }
            },
        };
        Tools::new(&tools?, choice.as_ref())
    }

    /// The form of the answer.
    pub fn format(&self) -> TextFormat {
        self.text.as_ref().and_then(|text| text.format.clone()).unwrap_or(TextFormat::Text)
    }

    /// How it is written.
    pub fn generation(&self) -> GenerationRequest {
        GenerationRequest {
            max_tokens: self.max_output_tokens,
            max_seconds: self.max_seconds,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            cache: self.cache.clone(),
            exit: self.exit.clone(),
            response_format: Some(self.format().into()),
            ..GenerationRequest::default()
        }
    }
}

/// A function as responses name it, in the form that chats have.
fn function(index: usize, tool: &Value) -> Result<Value, ApiError> {
    match (&tool["type"], &tool["name"]) {
        (Value::String(kind), Value::String(_)) if kind == "function" => {
            let mut function = tool.clone();
            if let Some(fields) = function.as_object_mut() {
                fields.shift_remove("type");
                fields.retain(|_, value| !value.is_null());
            }
            Ok(json!({ "type": "function", "function": function }))
        }
        _ => {
            let place = format!("tools[{index}]");
            let message = format!("{place} is no function: write {{\"type\": \"function\", \"name\": …}}");
            Err(ApiError::parameter(place, message))
        }
    }
}

/// The name of the first call that something returned for and that nobody has made before.
fn unasked(messages: &[Message]) -> Option<&str> {
    messages.iter().enumerate().find_map(|(index, message)| {
        let id = message.tool_call_id.as_deref().filter(|_| message.role == "tool")?;
        let mut calls = messages[..index].iter().flat_map(|message| &message.tool_calls);
        (!calls.any(|call| call.id == id)).then_some(id)
    })
}

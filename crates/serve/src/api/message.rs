//! The messages of a conversation.

use headwise_models::chat::{Message, ToolCall};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiError;
use super::shared::Shared;

/// One message, as clients send it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: String,
    /// What is said: a text, or parts that are texts.
    pub content: Option<Content>,
    /// Calls of functions that the model has made.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    pub tool_call_id: Option<String>,
    /// Name of the function, or of the speaker.
    pub name: Option<String>,
    /// Not used.
    pub refusal: Option<String>,
    /// Not used.
    pub audio: Option<Value>,
    /// Not used.
    pub annotations: Option<Value>,
    /// Not used.
    pub function_call: Option<Value>,
}

/// What a message says.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// A text.
    Text(String),
    /// Several parts.
    Parts(Vec<ContentPart>),
}

/// A part of what a message says.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ContentPart {
    /// What it is; only texts are taken.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(default)]
    pub text: Option<String>,
    /// Whether other prompts share the text, so that its keys and values may be estimated from theirs.
    #[serde(default)]
    pub shared: bool,
}

/// Who may speak.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The conversation for a chat template; texts that other prompts share go to `shared`.
pub fn conversation(messages: &[ChatMessage], shared: &mut Shared) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::parameter("messages", "messages is empty: a conversation needs at least one"));
    }
    messages.iter().enumerate().map(|(index, message)| message.read(index, shared)).collect()
}

impl ChatMessage {
    fn read(&self, index: usize, shared: &mut Shared) -> Result<Message, ApiError> {
        let role = match self.role.as_str() {
            // What developers say is what templates know as the system's word.
            "developer" => "system",
            role if ROLES.contains(&role) => role,
            role => {
                let message = format!("`{role}` is no role: {} are", ROLES.join(", "));
                return Err(ApiError::parameter(format!("messages[{index}].role"), message));
            }
        };
        Ok(Message {
            tool_calls: self.tool_calls.clone().unwrap_or_default(),
            tool_call_id: self.tool_call_id.clone(),
            name: self.name.clone(),
            ..Message::new(role, self.text(index, shared)?)
        })
    }

    fn text(&self, index: usize, shared: &mut Shared) -> Result<String, ApiError> {
        let parts = match &self.content {
            None => return Ok(String::new()),
            Some(Content::Text(text)) => return Ok(text.clone()),
            Some(Content::Parts(parts)) => parts,
        };
        let text = |(number, part): (usize, &ContentPart)| match (part.kind.as_str(), &part.text) {
            ("text" | "input_text" | "output_text", Some(text)) if part.shared => Ok(shared.take(text)),
            ("text" | "input_text" | "output_text", Some(text)) => Ok(text.clone()),
            (kind, _) => {
                let place = format!("messages[{index}].content[{number}]");
                Err(ApiError::parameter(place, format!("a part of type `{kind}`: this model reads text only")))
            }
        };
        parts.iter().enumerate().map(text).collect()
    }
}

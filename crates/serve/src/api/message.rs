//! The messages of a conversation.

use headwise_models::chat::{Message, ToolCall};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::segments::Segments;
use super::shared::Shared;
use super::{ApiError, marks};

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
    /// Whether it is one of several documents or options whose order does not matter; they stand one after another.
    #[serde(default)]
    pub segment: bool,
}

/// Texts that are taken out of a prompt.
#[derive(Debug)]
pub struct Taken {
    /// Those that other prompts share.
    pub shared: Shared,
    /// Those whose order does not matter.
    pub segments: Segments,
}

impl Taken {
    /// None yet, of a prompt that has no other texts than `texts`.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let [shared, segments] = marks::unused(texts);
        Self { shared: Shared::new(shared), segments: Segments::new(segments) }
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.segments.is_empty()
    }

    /// Refuses both at once.
    pub fn check(&self, param: &str) -> Result<(), ApiError> {
        if self.shared.is_empty() || self.segments.is_empty() {
            return Ok(());
        }
        let message = "`shared` texts and `segment`s in one prompt: what stands in no order has no place to be learned from, so take one of them";
        Err(ApiError::parameter(param, message))
    }
}

/// Who may speak.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The conversation for a chat template; texts that stand apart go to `taken`.
pub fn conversation(messages: &[ChatMessage], taken: &mut Taken) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::parameter("messages", "messages is empty: a conversation needs at least one"));
    }
    messages.iter().enumerate().map(|(index, message)| message.read(index, taken)).collect()
}

impl ChatMessage {
    fn read(&self, index: usize, taken: &mut Taken) -> Result<Message, ApiError> {
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
            ..Message::new(role, self.text(index, taken)?)
        })
    }

    fn text(&self, index: usize, taken: &mut Taken) -> Result<String, ApiError> {
        let text = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => return joined(parts, taken, &format!("messages[{index}].content")),
        };
        taken.segments.close();
        Ok(text)
    }
}

/// The text of `parts`, which stand at `place` of a request; texts that stand apart go to `taken`.
pub fn joined(parts: &[ContentPart], taken: &mut Taken, place: &str) -> Result<String, ApiError> {
    let mut joined = String::new();
    for (number, part) in parts.iter().enumerate() {
        let place = format!("{place}[{number}]");
        let ("text" | "input_text" | "output_text", Some(text)) = (part.kind.as_str(), &part.text) else {
            let message = format!("a part of type `{}`: this model reads text only", part.kind);
            return Err(ApiError::parameter(place, message));
        };
        if part.segment && !part.shared {
            taken.segments.take(text, &place, &mut joined)?;
            continue;
        }
        taken.segments.close();
        match part.shared {
            true if part.segment => {
                let message = "a text is either `shared` or a `segment`";
                return Err(ApiError::parameter(place, message));
            }
            true => joined.push_str(&taken.shared.take(text)),
            false => joined.push_str(text),
        }
    }
    // Segments of another message would not be behind these.
    taken.segments.close();
    Ok(joined)
}

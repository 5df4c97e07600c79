//! The turns of a conversation, with the tools that a model calls in them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A tool that the model may call, as the interfaces of OpenAI and Hugging Face describe it:
/// `{"type": "function", "function": {"name", "description", "parameters": JSON schema}}`.
pub type Tool = Value;

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`; which roles there are, and in which order, is the template's to say.
    pub role: String,
    /// What was said; empty where an assistant only calls tools, which may also be written as null.
    #[serde(default, deserialize_with = "or_empty")]
    pub content: String,
    /// The calls that an assistant made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool that answers, or who speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A call of a tool.
///
/// Written as `{"id", "type": "function", "function": {"name", "arguments": {…}}}`, which templates read. The arguments may also
/// be read as a text that holds their JSON, as OpenAI's interface has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct ToolCall {
    /// What the answer of the tool refers to; empty if the model gave none.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// Its arguments: an object, unless the model wrote something else.
    pub arguments: Value,
}

/// A [`ToolCall`] as it stands in a conversation.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(rename = "type", default = "function")]
    kind: String,
    function: Function,
}

#[derive(Serialize, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

fn function() -> String {
    "function".into()
}

impl From<Written> for ToolCall {
    fn from(Written { id, function: Function { name, arguments }, .. }: Written) -> Self {
        let arguments = match arguments {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            arguments => arguments,
        };
        Self { id, name, arguments }
    }
}

impl From<ToolCall> for Written {
    fn from(ToolCall { id, name, arguments }: ToolCall) -> Self {
        Self { id, kind: function(), function: Function { name, arguments } }
    }
}

fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Message {
    /// A message of any role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }

    /// An instruction to the model.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// What the user said.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// What the model answered.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

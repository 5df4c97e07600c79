//! What the input of a response may have: messages, calls of functions and what those returned.

use headwise_models::chat::ToolCall;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::ApiError;
use super::super::message::{ChatMessage, Content};

/// A text, or several items.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Input {
    /// What the user says.
    Text(String),
    /// What was said and done, in its order.
    Items(Vec<InputItem>),
}

/// A message, a call, or what a call returned.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[expect(dead_code, reason = "clients send back what the server has told them")]
pub struct InputItem {
    /// `message` if not given, `function_call` or `function_call_output`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Not used.
    id: Option<String>,
    /// Not used.
    status: Option<String>,
    /// Who speaks (message).
    role: Option<String>,
    /// What is said (message).
    content: Option<Content>,
    /// Name of the call (function_call, function_call_output).
    call_id: Option<String>,
    /// Name of the function (function_call).
    name: Option<String>,
    /// What it is called with, as JSON (function_call).
    arguments: Option<String>,
    /// What it returned (function_call_output).
    output: Option<Content>,
}

/// `items` as turns of a conversation: calls belong to what the assistant said before.
pub fn turns(items: &[InputItem]) -> Result<Vec<ChatMessage>, ApiError> {
    let mut turns: Vec<ChatMessage> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let wrong = |message: String| ApiError::parameter(format!("input[{index}]"), message);
        let needed = |field: &Option<String>, name: &str| {
            let kind = item.kind.as_deref().unwrap_or("message");
            field.clone().ok_or_else(|| wrong(format!("input[{index}]: an item of type `{kind}` needs `{name}`")))
        };
        match item.kind.as_deref() {
            None | Some("message") => turns.push(ChatMessage {
                role: needed(&item.role, "role")?,
                content: item.content.clone(),
                ..ChatMessage::default()
            }),
            Some("function_call") => {
                let arguments = item.arguments.clone().unwrap_or_else(|| "{}".into());
                let call = ToolCall {
                    id: needed(&item.call_id, "call_id")?,
                    name: needed(&item.name, "name")?,
                    arguments: serde_json::from_str(&arguments).unwrap_or(Value::String(arguments)),
                };
                match turns.last_mut().filter(|turn| turn.role == "assistant") {
                    Some(turn) => turn.tool_calls.get_or_insert_default().push(call),
                    None => turns.push(ChatMessage {
                        role: "assistant".into(),
                        tool_calls: Some(vec![call]),
                        ..ChatMessage::default()
                    }),
                }
            }
            Some("function_call_output") => turns.push(ChatMessage {
                role: "tool".into(),
                content: item.output.clone(),
                tool_call_id: Some(needed(&item.call_id, "call_id")?),
                ..ChatMessage::default()
            }),
            Some(kind) => {
                let known = "message, function_call and function_call_output are";
                return Err(wrong(format!("input[{index}] is of type `{kind}`, which is not taken: {known}")));
            }
        }
    }
    Ok(turns)
}

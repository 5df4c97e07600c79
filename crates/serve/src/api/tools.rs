//! Functions that a model may call: which, whether it must, and how it is told.

use headwise_engine::constrain::ConstraintSpec;
use headwise_models::chat::{ChatTemplate, Message, Tool, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::ApiError;
use super::template::Variables;

/// Whether functions are called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// This one.
    Function {
        /// `function`
        #[serde(rename = "type")]
        kind: String,
        /// The function.
        function: FunctionName,
    },
}

/// A function by its name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct FunctionName {
    /// The name.
    pub name: String,
}

/// The functions of a request.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// Those that the model is told of.
    pub told: Vec<Tool>,
    /// The form of the answer if it has to be a call.
    pub form: Option<ConstraintSpec>,
}

impl Tools {
    /// Of the fields `tools` and `tool_choice`.
    pub fn new(tools: &[Value], choice: Option<&ToolChoice>) -> Result<Self, ApiError> {
        for (index, tool) in tools.iter().enumerate() {
            let named = tool.pointer("/function/name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
            if tool["type"] != "function" || !named {
                let place = format!("tools[{index}]");
                let message =
                    format!("{place} is no function: write {{\"type\": \"function\", \"function\": {{\"name\": …}}}}");
                return Err(ApiError::parameter(place, message));
            }
        }
        let all = || tools.iter().collect::<Vec<_>>();
        let must = match choice {
            None => None,
            Some(ToolChoice::Mode(mode)) => match mode.as_str() {
                "none" => return Ok(Self::default()),
                "auto" => None,
                "required" => Some(all()),
                mode => {
                    let message = format!("`{mode}` is not known: none, auto, required or a function");
                    return Err(ApiError::parameter("tool_choice", message));
                }
            },
            Some(ToolChoice::Function { function, .. }) => {
                let mut found = all();
                found.retain(|tool| tool["function"]["name"] == function.name.as_str());
                if found.is_empty() {
                    let message = format!("`{}` is not among the tools", function.name);
                    return Err(ApiError::parameter("tool_choice", message));
                }
                Some(found)
            }
        };
        let form = match must {
            Some(must) if must.is_empty() => {
                return Err(ApiError::parameter("tool_choice", "a call is required and there are no tools"));
            }
            Some(must) => {
                // Spaces as models were taught to write calls, so that none of an answer goes into more.
                let space = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
                let calls: Value = must.into_iter().map(call).collect();
                Some(ConstraintSpec::JsonSchema(json!({ "anyOf": calls, "x-guidance": space })))
            }
            None => None,
        };
        Ok(Self { told: tools.to_vec(), form })
    }

    /// The text of `messages` for a model that is told of the functions: by its template, which finds `variables` too, or, if that knows of
    /// none, in words before the conversation.
    pub fn render(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        variables: &Variables,
    ) -> Result<String, ApiError> {
        let wrong =
            |error: headwise_models::chat::ChatTemplateError| ApiError::parameter("messages", error.to_string());
        if self.told.is_empty() || template.knows_tools() {
            return template.render_with(messages, &self.told, true, variables).map_err(wrong);
        }
        let mut messages = messages.to_vec();
        let told = self.in_words();
        match messages.first_mut().filter(|message| message.role == "system") {
            Some(system) => system.content = format!("{}\n\n{told}", system.content),
            None => messages.insert(0, Message::system(told)),
        }
        for message in &mut messages {
            in_words(message);
        }
        template.render_with(&messages, &[], true, variables).map_err(wrong)
    }

    fn in_words(&self) -> String {
        let functions: Vec<String> = self.told.iter().map(|tool| tool["function"].to_string()).collect();
        format!(
            "You can call these functions:\n{}\nTo call one, answer with nothing but JSON: {{\"name\": \"…\", \"arguments\": {{…}}}}",
            functions.join("\n")
        )
    }
}

/// Says in words what a template without tools would leave out.
fn in_words(message: &mut Message) {
    if !message.tool_calls.is_empty() {
        let call = |call: &ToolCall| json!({ "name": call.name, "arguments": call.arguments }).to_string();
        let calls: Vec<String> = message.tool_calls.drain(..).map(|tool_call| call(&tool_call)).collect();
        message.content.push_str(&calls.join("\n"));
    }
    if message.role == "tool" {
        message.role = "user".into();
        message.content = format!("The function returned: {}", message.content);
    }
}

/// What `call` is made with, as answers have it: JSON in a text.
pub fn arguments(call: &ToolCall) -> String {
    match &call.arguments {
        Value::String(text) => text.clone(),
        arguments => arguments.to_string(),
    }
}

/// The form of a call of `tool`.
fn call(tool: &Value) -> Value {
    let function = &tool["function"];
    let parameters = function.get("parameters").filter(|parameters| parameters.is_object());
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "arguments"],
        "properties": {
            "name": { "const": function["name"] },
            "arguments": parameters.cloned().unwrap_or_else(|| json!({ "type": "object" })),
        },
    })
}

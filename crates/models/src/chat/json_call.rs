//! Calls of tools that are written as JSON: where they begin, and what they say.

use serde_json::{Map, Value};

use super::ToolCall;
use super::json_end::JsonEnd;
use super::tool_calls::Form;

/// Longest name and id of a tool that stand before its arguments.
pub(super) const LONGEST_NAME: usize = 256;

/// Where the JSON of a call begins, which is marked by the first `mark` bytes of `held`.
pub(super) fn json_start(held: &str, mark: usize, form: Form) -> Option<(usize, JsonEnd)> {
    let rest = held[mark..].trim_start();
    let space = held.len() - rest.len();
    let start = match form {
        Form::Mistral if is_name(rest) => space + rest.find('{')?,
        _ if rest.starts_with('{') || (form == Form::Mistral && rest.starts_with('[')) => space,
        _ => return None,
    };
    Some((start, JsonEnd::from(start)))
}

/// Whether what follows a mark may still become JSON, or a name before it.
pub(super) fn json_may_start(rest: &str, form: Form) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || (form == Form::Mistral && is_name(rest) && rest.len() < LONGEST_NAME)
}

/// Whether `text` begins with the name of a tool: with everything that may stand before its arguments.
fn is_name(text: &str) -> bool {
    let head = text.split('{').next().unwrap_or_default().trim_end();
    let possible = |c: char| is_of_a_name(c) || "[]".contains(c);
    head.len() < LONGEST_NAME && head.starts_with(is_of_a_name) && head.chars().all(possible)
}

/// Whether names of tools have the letter `c`.
pub(super) fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || "_-./".contains(c)
}

/// Whether JSON that has begun may become a call, by its first key.
pub(super) fn may_be_call(text: &str) -> bool {
    let text = text.strip_prefix('[').map_or(text, str::trim_start);
    if text.is_empty() {
        return true;
    }
    let Some(inside) = text.strip_prefix('{') else { return false };
    let Some(key) = inside.trim_start().strip_prefix('"') else { return inside.trim_start().is_empty() };
    let (key, complete) = key.split_once('"').map_or((key, false), |(key, _)| (key, true));
    let keys = ["name", "arguments", "parameters", "type", "function", "id"];
    keys.iter().any(|other| if complete { *other == key } else { other.starts_with(key) })
}

/// The call that `value` says, if it says one.
pub(super) fn call(value: Value, form: Form) -> Option<ToolCall> {
    let Value::Object(mut outer) = value else { return None };
    let id = outer.get("id").and_then(Value::as_str).unwrap_or_default().to_string();
    let mut call = match outer.remove("function") {
        Some(Value::Object(inner)) => inner,
        Some(_) => return None,
        None => outer,
    };
    let name = call.get("name")?.as_str().filter(|name| !name.is_empty())?.to_string();
    let arguments = match call.remove("arguments").or_else(|| call.remove("parameters")) {
        Some(Value::String(text)) => serde_json::from_str(&text).ok()?,
        Some(arguments) => arguments,
        None if form == Form::Bare => return None,
        None => Value::Object(Map::new()),
    };
    arguments.is_object().then_some(ToolCall { id, name, arguments })
}

//! Calls of tools that are written in tags, as Qwen 3 Coder writes them.
//!
//! ```text
//! <tool_call>
//! <function=get_weather>
//! <parameter=city>
//! Paris
//! </parameter>
//! </function>
//! </tool_call>
//! ```
//!
//! Values stand there as they are, without quotation marks, so what they are is for the tool's schema to say: text is text even if it looks
//! like a number, and what should be a number and is none stays text.

use serde_json::{Map, Value};

use super::json_call::{LONGEST_NAME, is_of_a_name};
use super::tool_calls::{Form, named};
use super::{Tool, ToolCall};

/// How a call begins, up to the name of its tool.
pub(super) const BEGIN: &str = "<function=";
const END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
/// Ends a call whose own end was forgotten.
const OUTER_END: &str = "</tool_call>";

/// Where the tags of a call begin in `held`, whose first `mark` bytes mark it in `form`.
pub(super) fn start(held: &str, mark: usize, form: Form) -> Option<usize> {
    let rest = held[mark..].trim_start();
    (matches!(form, Form::Hermes | Form::Xml) && rest.starts_with(BEGIN)).then_some(held.len() - rest.len())
}

/// Whether what follows a mark may still become tags.
pub(super) fn may_start(rest: &str) -> bool {
    BEGIN.starts_with(rest.trim_start())
}

/// Whether `text`, which begins with [`BEGIN`], may become a call: of one of `tools`, if those are given.
pub(super) fn may_be_call(text: &str, tools: Option<&[Tool]>) -> bool {
    let rest = &text[BEGIN.len()..];
    let (name, inside) = rest.split_once('>').map_or((rest, None), |(name, inside)| (name, Some(inside)));
    let possible = name.len() < LONGEST_NAME && name.chars().all(is_of_a_name);
    let is_named = || tools.is_none_or(|tools| named(tools, name).is_some());
    let inside = inside.map(str::trim_start);
    let follows =
        |inside: &str| [PARAMETER, END, OUTER_END].iter().any(|tag| inside.starts_with(tag) || tag.starts_with(inside));
    possible && inside.is_none_or(|inside| !name.is_empty() && is_named() && follows(inside))
}

/// Looks for the end of a call in tags; every byte is looked at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct XmlEnd {
    start: usize,
    /// Bytes that were looked at.
    at: usize,
}

/// Where a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The end of its parameters.
    pub tags: usize,
    /// The byte after the call.
    pub end: usize,
}

impl XmlEnd {
    /// For a call whose first tag is at byte `start`.
    pub fn from(start: usize) -> Self {
        Self { start, at: start + BEGIN.len() }
    }

    /// The end, once `text` has it; `text` has only grown since the last call.
    pub fn find(&mut self, text: &str) -> Option<Ended> {
        while let Some(next) = text[self.at..].find('<') {
            let tags = self.at + next;
            let rest = &text[tags..];
            if rest.len() < OUTER_END.len() && (END.starts_with(rest) || OUTER_END.starts_with(rest)) && rest != END {
                // More of the tag may come.
                self.at = tags;
                return None;
            }
            let behind_parameters = || {
                let before = text[self.start..tags].trim_end();
                before.ends_with(PARAMETER_END) || before.find('>') == Some(before.len() - 1)
            };
            if (rest.starts_with(END) || rest.starts_with(OUTER_END)) && behind_parameters() {
                let length = if rest.starts_with(END) { END.len() } else { 0 };
                return Some(Ended { tags, end: tags + length });
            }
            self.at = tags + 1;
        }
        self.at = text.len();
        None
    }
}

/// The call in `text`, which begins with [`BEGIN`] and ends with its last parameter; none if it is malformed.
pub(super) fn call(text: &str, tools: &[Tool]) -> Option<ToolCall> {
    let (name, inside) = text.strip_prefix(BEGIN)?.split_once('>')?;
    let schemas = named(tools, name).and_then(|function| function.pointer("/parameters/properties"));
    let mut arguments = Map::new();
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest.strip_prefix(PARAMETER)?.split_once('>')?;
        if key.is_empty() || key.len() >= LONGEST_NAME {
            return None;
        }
        let (value, after) = value_of(value)?;
        let schema = schemas.and_then(|schemas| schemas.get(key));
        arguments.insert(key.to_owned(), argument(value, schema));
        rest = after;
    }
    Some(ToolCall { id: String::new(), name: name.to_owned(), arguments: Value::Object(arguments) })
}

/// The value that `text` begins with, and what follows it from the next tag on. An end tag inside a value, with no other tag behind it, is a
/// part of the value.
fn value_of(text: &str) -> Option<(&str, &str)> {
    let ends = text.match_indices(PARAMETER_END).map(|(at, end)| (&text[..at], text[at + end.len()..].trim_start()));
    let mut ends = ends.filter(|(_, after)| after.is_empty() || after.starts_with(PARAMETER));
    let (value, after) = ends.next()?;
    // A line break on either side belongs to the tags.
    let value = value.strip_prefix('\n').unwrap_or(value);
    Some((value.strip_suffix('\n').unwrap_or(value), after))
}

/// What `text` is as the value of a parameter with `schema`.
fn argument(text: &str, schema: Option<&Value>) -> Value {
    let as_text = || Value::String(text.to_owned());
    let Some(schema) = schema else { return as_text() };
    let mut types = Vec::new();
    collect_types(schema, &mut types);
    if !types.is_empty() && types.iter().all(|name| *name == "string") {
        return as_text();
    }
    let value = match text.trim() {
        // Templates that write values as Python does teach models to do so.
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        text => match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) => return as_text(),
        },
    };
    // What the schema does not say is text, unless it can hardly be.
    let fits = if types.is_empty() { value.is_object() || value.is_array() } else { has_type(&value, &types) };
    if fits { value } else { as_text() }
}

/// The types that `schema` names, whichever of its branches.
fn collect_types<'s>(schema: &'s Value, types: &mut Vec<&'s str>) {
    match &schema["type"] {
        Value::String(name) => types.push(name),
        Value::Array(names) => types.extend(names.iter().filter_map(Value::as_str)),
        _ => {}
    }
    for value in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
        types.push(type_of(value));
    }
    for branch in ["anyOf", "oneOf", "allOf"].iter().flat_map(|word| schema[*word].as_array()).flatten() {
        match branch.get("$ref") {
            // Elsewhere; objects, as a rule.
            Some(_) => types.push("object"),
            None => collect_types(branch, types),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, types: &[&str]) -> bool {
    let own = type_of(value);
    types.iter().any(|name| *name == own || (*name == "number" && own == "integer"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_what_the_schema_says() {
        let value = |text: &str, schema: Value| argument(text, Some(&schema));
        assert_eq!(value("5", json!({ "type": "integer" })), json!(5));
        assert_eq!(value("5", json!({ "type": "number" })), json!(5));
        assert_eq!(value("5", json!({ "type": "string" })), json!("5"));
        assert_eq!(value("5.5", json!({ "type": "integer" })), json!("5.5"));
        assert_eq!(value("five", json!({ "type": "integer" })), json!("five"));
        assert_eq!(value("True", json!({ "type": "boolean" })), json!(true));
        assert_eq!(value("null", json!({ "type": ["string", "null"] })), json!(null));
        assert_eq!(value("None", json!({ "type": "string" })), json!("None"));
        assert_eq!(value("[1, {}]", json!({ "type": "array" })), json!([1, {}]));
        assert_eq!(value("2", json!({ "enum": [1, 2] })), json!(2));
        assert_eq!(value("2", json!({ "enum": ["1", "2"] })), json!("2"));
        assert_eq!(value("{\"a\": 1}", json!({ "$ref": "#/$defs/A" })), json!({ "a": 1 }));
        assert_eq!(value("{\"a\": 1}", json!({ "anyOf": [{ "$ref": "#" }, { "type": "null" }] })), json!({ "a": 1 }));
        assert_eq!(value("5", json!({})), json!("5"));
        assert_eq!(argument("5", None), json!("5"));
    }
}

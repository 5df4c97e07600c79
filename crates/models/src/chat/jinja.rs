//! The dialect of Jinja that chat templates are written in: what Hugging Face's renderer adds to it.

use std::io::Write;

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;

use super::ChatTemplateError;

/// A block on a line of its own leaves no line behind.
pub(super) fn syntax() -> Result<SyntaxConfig, ChatTemplateError> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| invalid(&error))
}

pub(super) fn invalid(error: &Error) -> ChatTemplateError {
    ChatTemplateError::Syntax(describe(error))
}

/// Marks errors that the template itself raised, to tell a refusal from a failure.
const RAISED: &str = "\u{1}";

pub(super) fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

/// The current local time, written as `format` says.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let failed = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}"));
    jiff::fmt::strtime::format(format, &Zoned::now()).map_err(failed)
}

/// JSON as Python writes it: a space after each comma and colon, nothing escaped for HTML.
pub(super) fn to_json(value: Value) -> Result<String, Error> {
    let mut text = Vec::new();
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PythonJson)).map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct PythonJson;

impl serde_json::ser::Formatter for PythonJson {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `{% generation %}` and `{% endgeneration %}` mark the assistant's words for training and render as nothing: they
/// become a condition that holds.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut parts = source.split("{%");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        text.push_str("{%");
        let (tag, rest) = part.split_at(part.find("%}").unwrap_or(part.len()));
        match tag.trim_matches(|c: char| c.is_whitespace() || "-+".contains(c)) {
            "generation" => text.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", "endif")),
            _ => text.push_str(tag),
        }
        text.push_str(rest);
    }
    text
}

pub(super) fn failure(error: &Error) -> ChatTemplateError {
    match error.detail().and_then(|detail| detail.strip_prefix(RAISED)) {
        Some(message) => ChatTemplateError::Refused(message.into()),
        None => ChatTemplateError::Failed(describe(error)),
    }
}

fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    error.line().map_or(what.clone(), |line| format!("{what} (line {line})"))
}

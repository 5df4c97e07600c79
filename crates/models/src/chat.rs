//! Chat templates: a conversation to the text that a chat model was trained on.
//!
//! A template is a Jinja program that comes with the model: `tokenizer.chat_template` in a GGUF file, or
//! `chat_template.jinja` or the `chat_template` of `tokenizer_config.json` in a Hugging Face directory. It is rendered
//! with what such programs rely on: Python's string and list methods, loop controls, trimmed blocks, `raise_exception`,
//! `strftime_now`, and the texts of the boundary tokens. There are no tools.

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use crate::gguf::{Metadata, MetadataError};
use crate::tokenizer::Tokenizer;

/// Steps a template may take: a template is a program by whoever made the model file, and must end.
const FUEL: u64 = 5_000_000;

/// The result of this module.
pub type Result<T> = std::result::Result<T, ChatTemplateError>;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; which roles there are, and in which order, is the template's to say.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message of any role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
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

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatTemplateError {
    /// The model has no template: it was not trained to chat.
    #[error("this model has no chat template ({looked_for}): it completes text but was not trained to chat")]
    Missing {
        /// Where one was expected.
        looked_for: String,
    },
    /// The metadata value is of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A file of a Hugging Face directory cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The template is not valid Jinja.
    #[error("the chat template is not valid: {0}")]
    Syntax(String),
    /// The template refused this conversation.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// There is nothing to render.
    #[error("a conversation needs at least one message")]
    NoMessages,
}

/// A model's chat template, ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles the template `source`; `bos` and `eos` are the texts of the boundary tokens (empty if the model has
    /// none).
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(syntax()?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned("chat", without_generation_marks(source)).map_err(|error| invalid(&error))?;
        Ok(Self { environment, bos: bos.into(), eos: eos.into() })
    }

    /// The template in the metadata of a GGUF file.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self> {
        const KEY: &str = "tokenizer.chat_template";
        let missing = || ChatTemplateError::Missing { looked_for: format!("no {KEY} in the file") };
        let source = metadata.optional_string(KEY)?.ok_or_else(missing)?;
        Self::for_tokenizer(source, tokenizer)
    }

    /// The template in a Hugging Face directory: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json`.
    pub fn from_directory(directory: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let looked_for = format!("neither chat_template.jinja nor tokenizer_config.json in {}", directory.display());
        let source = Self::source_in(directory)?.ok_or(ChatTemplateError::Missing { looked_for })?;
        Self::for_tokenizer(&source, tokenizer)
    }

    /// The text of the template in a Hugging Face directory, if there is one.
    pub fn source_in(directory: &Path) -> Result<Option<String>> {
        let own = directory.join("chat_template.jinja");
        if own.exists() {
            return read(&own).map(Some);
        }
        let config = directory.join("tokenizer_config.json");
        if config.exists() { template_of(&config) } else { Ok(None) }
    }

    fn for_tokenizer(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
        Self::new(source, text(tokenizer.bos_id()), text(tokenizer.eos_id()))
    }

    /// The text of `messages`; with `add_generation_prompt` also the opening of the assistant's next turn.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if messages.is_empty() {
            return Err(ChatTemplateError::NoMessages);
        }
        let context = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let template = self.environment.get_template("chat").map_err(|error| failure(&error))?;
        template.render(context).map_err(|error| failure(&error))
    }

    /// The text of `messages`, the opening of the assistant's turn, and the start of its answer, which the model is to
    /// continue.
    pub fn render_continuation(&self, messages: &[Message], answer_start: &str) -> Result<String> {
        Ok(self.render(messages, true)? + answer_start)
    }
}

/// A block on a line of its own leaves no line behind.
fn syntax() -> Result<SyntaxConfig> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| invalid(&error))
}

fn invalid(error: &Error) -> ChatTemplateError {
    ChatTemplateError::Syntax(describe(error))
}

/// The default template of a `tokenizer_config.json`, which may hold one or a list of named ones.
fn template_of(config: &Path) -> Result<Option<String>> {
    let failed = |reason: String| ChatTemplateError::File { path: config.into(), reason };
    let description: serde_json::Value =
        serde_json::from_str(&read(config)?).map_err(|error| failed(error.to_string()))?;
    let named = |entry: &&serde_json::Value| entry.get("name").is_some_and(|name| name == "default");
    let source = match description.get("chat_template") {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::Array(entries)) => entries.iter().find(named).and_then(|entry| entry.get("template")),
        Some(source) => Some(source),
    };
    let source = source.and_then(serde_json::Value::as_str);
    source.map(|source| Some(source.into())).ok_or_else(|| failed("chat_template is not a string".into()))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| ChatTemplateError::File { path: path.into(), reason: error.to_string() })
}

/// Marks errors that the template itself raised, to tell a refusal from a failure.
const RAISED: &str = "\u{1}";

fn raise_exception(message: &str) -> std::result::Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

/// The current local time, written as `format` says.
fn strftime_now(format: &str) -> std::result::Result<String, Error> {
    let failed = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}"));
    jiff::fmt::strtime::format(format, &Zoned::now()).map_err(failed)
}

/// JSON as Python writes it: a space after each comma and colon, nothing escaped for HTML.
fn to_json(value: Value) -> std::result::Result<String, Error> {
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
fn without_generation_marks(source: &str) -> String {
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

fn failure(error: &Error) -> ChatTemplateError {
    match error.detail().and_then(|detail| detail.strip_prefix(RAISED)) {
        Some(message) => ChatTemplateError::Refused(message.into()),
        None => ChatTemplateError::Failed(describe(error)),
    }
}

fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    error.line().map_or(what.clone(), |line| format!("{what} (line {line})"))
}

//! A model's chat template.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde_json::Map;

use super::{ChatTemplateError, Message, Tool, jinja};
use crate::gguf::Metadata;
use crate::tokenizer::Tokenizer;

/// Steps a template may take: a template is a program by whoever made the model file, and must end.
const FUEL: u64 = 5_000_000;

/// Variables that every template is given, which nobody else can set.
const GIVEN: [&str; 5] = ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"];

type Result<T> = std::result::Result<T, ChatTemplateError>;

/// A model's chat template, ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Whether the template looks at `tools`.
    knows_tools: bool,
    /// What else it looks at.
    variables: Vec<String>,
}

impl ChatTemplate {
    /// Compiles the template `source`; `bos` and `eos` are the texts of the boundary tokens (empty if the model has
    /// none).
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(jinja::syntax()?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", jinja::raise_exception);
        environment.add_function("strftime_now", jinja::strftime_now);
        environment.add_filter("tojson", jinja::to_json);
        let source = jinja::without_generation_marks(source);
        environment.add_template_owned("chat", source).map_err(|error| jinja::invalid(&error))?;
        let template = environment.get_template("chat").map_err(|error| jinja::invalid(&error))?;
        let mut variables: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        let knows_tools = variables.iter().any(|name| name == "tools");
        let known = |name: &str| GIVEN.contains(&name) || environment.globals().any(|(global, _)| global == name);
        variables.retain(|name| !known(name));
        variables.sort_unstable();
        Ok(Self { environment, bos: bos.into(), eos: eos.into(), knows_tools, variables })
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

    /// Compiles the template `source` with the boundary tokens of `tokenizer`.
    pub fn for_tokenizer(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
        Self::new(source, text(tokenizer.bos_id()), text(tokenizer.eos_id()))
    }

    /// Whether the template tells the model about tools.
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// Names of the variables that the template looks at beside those that every template is given, ascending: what
    /// [`render_with`](Self::render_with) can set.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The text of `messages`; with `add_generation_prompt` also the opening of the assistant's next turn.
    ///
    /// `tools` are what the model may call, each `{"type": "function", "function": {"name", "description", "parameters"}}`; a
    /// template that [does not know](Self::knows_tools) of them says nothing about them.
    pub fn render(&self, messages: &[Message], tools: &[Tool], add_generation_prompt: bool) -> Result<String> {
        self.render_with(messages, tools, add_generation_prompt, &Map::new())
    }

    /// The same where the template finds `variables` too, such as `enable_thinking`. Those that every template is given cannot be set.
    pub fn render_with(
        &self,
        messages: &[Message],
        tools: &[Tool],
        add_generation_prompt: bool,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String> {
        if messages.is_empty() {
            return Err(ChatTemplateError::NoMessages);
        }
        let mut context = BTreeMap::from([("documents", Value::from(()))]);
        context.extend(variables.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))));
        context.extend([
            ("messages", Value::from(Serde(messages))),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
            ("tools", if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) }),
        ]);
        let template = self.environment.get_template("chat").map_err(|error| jinja::failure(&error))?;
        template.render(context).map_err(|error| jinja::failure(&error))
    }

    /// The text of `messages`, the opening of the assistant's turn, and the start of its answer, which the model is to
    /// continue.
    pub fn render_continuation(&self, messages: &[Message], answer_start: &str) -> Result<String> {
        Ok(self.render(messages, &[], true)? + answer_start)
    }
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

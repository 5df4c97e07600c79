//! The forms that a text can be held to.

use llguidance::api::TopLevelGrammar;
use llguidance::regex_to_lark;
use serde_json::{Value, json};

use super::{ConstraintError, schema};

/// A form that a text has to follow.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintSpec {
    /// A JSON object of any kind.
    Json,
    /// JSON that follows a JSON Schema (2020-12 and older, without remote references).
    JsonSchema(Value),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text that matches a regular expression as a whole, in the syntax of Rust's `regex` without look-around; `\d` and `\w` are
    /// ASCII, as in JSON Schema.
    Regex(String),
    /// A text of a context-free grammar, in the dialect of Lark that `llguidance` documents; it begins with the rule `start`.
    Grammar(String),
}

/// Space between the parts of a JSON text: one, or a new line with its indentation. More says nothing, and a model that knows no JSON
/// would write nothing else.
const SPACE: &str = r"\x20|\r?\n[\x20\t]{0,32}";

/// The classes of a regular expression that have ASCII characters only.
const ASCII: &str = "dw";

impl ConstraintSpec {
    /// What the form is called in errors.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::JsonSchema(_) => "JSON schema",
            Self::Choice(_) => "list of choices",
            Self::Regex(_) => "regular expression",
            Self::Grammar(_) => "grammar",
        }
    }

    /// All that there is to know of the form, as one text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Json => String::new(),
            Self::JsonSchema(schema) => schema.to_string(),
            Self::Choice(choices) => json!(choices).to_string(),
            Self::Regex(text) | Self::Grammar(text) => text.clone(),
        }
    }

    /// The form as the library takes it.
    pub(super) fn grammar(&self) -> Result<TopLevelGrammar, ConstraintError> {
        let invalid = |reason: String| ConstraintError::Invalid { what: self.what(), reason };
        match self {
            Self::Json => Ok(json_grammar(json!({ "type": "object" }))),
            Self::JsonSchema(schema) => {
                schema::check(schema).map_err(invalid)?;
                Ok(json_grammar(schema.clone()))
            }
            Self::Choice(choices) => {
                if choices.is_empty() {
                    return Err(invalid("it is empty: it must have at least one text".into()));
                }
                if let Some(at) = choices.iter().position(String::is_empty) {
                    return Err(invalid(format!("text {} is empty: each must have at least one character", at + 1)));
                }
                let quoted: Vec<String> = choices.iter().map(|choice| json!(choice).to_string()).collect();
                Ok(TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | "))))
            }
            Self::Regex(text) => {
                let text = without_anchors(text);
                if text.is_empty() {
                    return Err(invalid("it is empty: it must match at least one character".into()));
                }
                Ok(TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(text, ASCII))))
            }
            Self::Grammar(text) => {
                schema::check_operators(text).map_err(invalid)?;
                Ok(TopLevelGrammar::from_lark(text.clone()))
            }
        }
    }
}

fn json_grammar(mut schema: Value) -> TopLevelGrammar {
    if let Value::Object(entries) = &mut schema {
        entries.entry("x-guidance").or_insert_with(|| json!({ "whitespace_pattern": SPACE }));
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// The whole text has to match: `^` and `$` around it say nothing more.
fn without_anchors(text: &str) -> &str {
    let text = text.strip_prefix('^').unwrap_or(text);
    match text.strip_suffix('$') {
        Some(inside) if inside.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0 => inside,
        _ => text,
    }
}

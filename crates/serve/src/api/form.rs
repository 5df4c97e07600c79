//! `response_format`: the form that an answer follows.

use headwise_engine::Sampler;
use headwise_engine::constrain::{ConstraintError, ConstraintLimits, ConstraintSpec};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiError;
use crate::Served;

/// The form of an answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
    /// One of some texts.
    Choice {
        /// The texts.
        choices: Vec<String>,
    },
    /// A text that matches a regular expression.
    Regex {
        /// The expression.
        regex: String,
    },
    /// A text of a grammar in the form of Lark.
    Grammar {
        /// The grammar.
        grammar: String,
    },
}

/// A schema as OpenAI's clients send it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NamedSchema {
    /// The schema.
    pub schema: Value,
    /// Not used.
    #[serde(default)]
    pub name: Option<String>,
    /// Not used.
    #[serde(default)]
    pub description: Option<String>,
    /// Not used: schemas are always followed.
    #[serde(default)]
    pub strict: Option<bool>,
}

impl ResponseFormat {
    fn spec(&self) -> Option<ConstraintSpec> {
        Some(match self.clone() {
            Self::Text => return None,
            Self::JsonObject => ConstraintSpec::Json,
            Self::JsonSchema { json_schema } => ConstraintSpec::JsonSchema(json_schema.schema),
            Self::Choice { choices } => ConstraintSpec::Choice(choices),
            Self::Regex { regex } => ConstraintSpec::Regex(regex),
            Self::Grammar { grammar } => ConstraintSpec::Grammar(grammar),
        })
    }

    /// `sampler` held to the form; takes up to a second.
    pub fn hold(&self, served: &Served, sampler: Sampler) -> Result<Sampler, ApiError> {
        match self.spec() {
            None => Ok(sampler),
            Some(spec) => hold(served, &spec, "response_format", sampler),
        }
    }
}

/// `sampler` held to `spec`, which the field `param` of a request asked for; takes up to a second.
pub fn hold(served: &Served, spec: &ConstraintSpec, param: &str, sampler: Sampler) -> Result<Sampler, ApiError> {
    let compiled = served.constraints().and_then(|factory| factory.compile(spec, &ConstraintLimits::default()));
    compiled.map(|constraint| sampler.with_constraint(constraint)).map_err(|error| match error {
        ConstraintError::Busy { .. } => ApiError::busy(error.to_string()),
        error => ApiError::parameter(param, error.to_string()),
    })
}

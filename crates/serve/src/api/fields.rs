//! Values that fields of requests have.

use serde::Deserialize;
use utoipa::ToSchema;

use super::ApiError;
use super::message::ContentPart;
use crate::Served;

/// Texts or tokens.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PromptInput {
    /// A text.
    Text(String),
    /// Tokens of a text.
    Ids(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Tokens of several texts.
    AllIds(Vec<Vec<u32>>),
    /// One text in parts, of which some stand apart.
    Parts(Vec<ContentPart>),
}

impl PromptInput {
    /// The tokens of every text; the field `param` of a request has them.
    pub fn tokens(&self, served: &Served, param: &str) -> Result<Vec<Vec<u32>>, ApiError> {
        let encode = |text: &String| served.model.encode(text).map_err(ApiError::from);
        let tokens = match self {
            Self::Text(text) => vec![encode(text)?],
            Self::Ids(ids) => vec![ids.clone()],
            Self::Texts(texts) => texts.iter().map(encode).collect::<Result<_, _>>()?,
            Self::AllIds(texts) => texts.clone(),
            Self::Parts(_) => {
                let message = format!("`{param}` must be texts or tokens: parts are for /v1/completions and chats");
                return Err(ApiError::parameter(param, message));
            }
        };
        if tokens.is_empty() || tokens.iter().any(Vec::is_empty) {
            return Err(ApiError::parameter(
                param,
                format!("`{param}` has an empty text: each must have at least one token"),
            ));
        }
        Ok(tokens)
    }
}

/// How an answer comes piece by piece.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// Whether the last piece says what the answer has cost.
    pub include_usage: Option<bool>,
    /// Not used.
    pub include_obfuscation: Option<bool>,
}

/// What else to say of an answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub struct Insight {
    /// Which tokens every layer and head kept.
    #[serde(default)]
    pub kept: bool,
    /// Which key-value heads copy from far back.
    #[serde(default)]
    pub retrieval_heads: bool,
    /// How sure the answer is.
    #[serde(default)]
    pub confidence: bool,
    /// The parts of the prompt that the policy read, where it reads a part.
    #[serde(default)]
    pub selected_text: bool,
    /// What so many last tokens of the answer attend to; at most 64.
    #[serde(default)]
    pub attention_rows: usize,
    /// The memory of the cache with every piece of a stream.
    #[serde(default)]
    pub live: bool,
}

impl Insight {
    /// Most tokens whose attention is told: each row is as long as the text.
    pub const MOST_ROWS: usize = 64;

    /// Whether something is to be told at the end of an answer.
    pub fn shows(&self) -> bool {
        let Self { kept, retrieval_heads, confidence, selected_text, attention_rows, live: _ } = *self;
        kept || retrieval_heads || confidence || selected_text || attention_rows > 0
    }

    /// Refuses what would read the text once more in the ordinary way, which is not how `what` was read.
    pub fn check_ordinary(&self, what: &str) -> Result<(), ApiError> {
        let reads = [("kept", self.kept), ("confidence", self.confidence), ("attention_rows", self.attention_rows > 0)];
        match reads.into_iter().find(|&(_, asked)| asked) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("`{name}` cannot be told of {what}: it would be that of an ordinary text");
                Err(ApiError::parameter(format!("headwise.{name}"), message))
            }
        }
    }
}

/// A text or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// Yes or no, or a number.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FlagOrCount {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Count(usize),
}

//! An answer as it is printed: a line of JSON, or text with a table of its tokens.

use std::fmt::Write;

use headwise::engine::{LogProbability, StopTexts, TextModel, TokenLogProbabilities};
use headwise::models::tokenizer::Tokenizer;
use serde::Serialize;

use super::confidence::Sure;

/// A line of JSON; what is not known is left out.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    pub prompt: &'a str,
    pub text: String,
    /// `stop` or `length`.
    pub finish_reason: &'static str,
    /// Of the whole answer, its end included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probability: Option<f64>,
    /// What several answers to a prompt are ranked by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Token>,
    /// How sure the answer is, if that was asked and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Sure>,
}

/// A token of the answer.
#[derive(Debug, Serialize)]
pub struct Token {
    #[serde(flatten)]
    chosen: Likely,
    likeliest: Vec<Likely>,
}

/// A token that is or could be in the answer.
#[derive(Debug, Serialize)]
pub struct Likely {
    id: u32,
    token: String,
    log_probability: f64,
}

impl Likely {
    fn new(tokenizer: &Tokenizer, LogProbability { id, value }: LogProbability) -> Self {
        Self { id, token: tokenizer.decode(&[id], false), log_probability: value }
    }
}

impl<'a> Answer<'a> {
    /// The tokens `ids` written after `prompt`, up to the first of the texts of `stops`.
    pub fn new(model: &TextModel, prompt: &'a str, ids: &[u32], stopped: bool, mut stops: StopTexts) -> Self {
        let mut decoder = model.tokenizer.decoder();
        let mut text: String = ids.iter().map(|&id| stops.push(&decoder.push(id))).collect();
        text.push_str(&stops.push(&decoder.finish()));
        text.push_str(&stops.finish());
        let finish_reason = if stopped || stops.stopped() { "stop" } else { "length" };
        Self { prompt, text, finish_reason, log_probability: None, score: None, tokens: Vec::new(), confidence: None }
    }

    /// The answer with how likely its tokens are.
    pub fn with_tokens(mut self, model: &TextModel, tokens: &[TokenLogProbabilities]) -> Self {
        self.tokens = tokens.iter().map(|token| Token::new(model, token)).collect();
        self
    }

    /// The answer on one line.
    pub fn line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Token {
    /// A token with its words.
    pub fn new(model: &TextModel, token: &TokenLogProbabilities) -> Self {
        let likely = |&token: &LogProbability| Likely::new(&model.tokenizer, token);
        Self { chosen: likely(&token.chosen), likeliest: token.likeliest.iter().map(likely).collect() }
    }
}

/// A row for every token: its log-probability, the token, and the likeliest ones.
pub fn table(tokens: &[Token]) -> String {
    let quoted = |token: &Likely| format!("{:?}", token.token);
    let width = tokens.iter().map(|token| quoted(&token.chosen).chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    for Token { chosen, likeliest } in tokens {
        let _ = write!(table, "{:8.3}  {:width$}", chosen.log_probability, quoted(chosen));
        for token in likeliest {
            let _ = write!(table, "  {} {:.3}", quoted(token), token.log_probability);
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

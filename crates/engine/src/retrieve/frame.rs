//! What stands around the text in a prompt that asks about it.

use headwise_models::chat::Message;
use headwise_models::tokenizer::Encode;

use super::Question;
use super::parts::{INNER, Piece};
use crate::{TextError, TextModel};

/// The tokens before and after the text.
pub(super) struct Frame {
    before: Vec<u32>,
    /// The question, to the end of the prompt.
    pub after: Vec<u32>,
}

impl Frame {
    /// In the form of the model's conversations, if it has one.
    pub fn new(model: &TextModel, Question { question, answer_start }: Question<'_>) -> Result<Self, TextError> {
        // A character that no text has, in the place of the text.
        const PLACE: &str = "\u{10fffd}";
        let Some(template) = &model.template else {
            let after = model.tokenizer.encode(&format!("\n{question}{answer_start}"), INNER)?;
            return Ok(Self { before: model.encode("")?, after });
        };
        let turn = template.render_continuation(&[Message::user(format!("{PLACE}\n{question}"))], answer_start)?;
        let (before, after) = turn.split_once(PLACE).unwrap_or(("", &turn));
        let encode = |text: &str| model.tokenizer.encode(text, Encode::TEMPLATE);
        Ok(Self { before: encode(before)?, after: encode(after)? })
    }

    /// How many tokens stand around the text.
    pub fn tokens(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// A prompt up to the end of the text `pieces`.
    pub fn before(&self, pieces: &[Piece<'_>]) -> Vec<u32> {
        self.before.iter().chain(pieces.iter().flat_map(|piece| &piece.ids)).copied().collect()
    }

    /// The prompt about the text `pieces`.
    pub fn around(&self, pieces: Vec<&Piece<'_>>) -> Vec<u32> {
        let text = pieces.iter().flat_map(|piece| &piece.ids);
        self.before.iter().chain(text).chain(&self.after).copied().collect()
    }
}

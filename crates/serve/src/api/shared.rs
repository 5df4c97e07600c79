//! Texts of a conversation that other prompts share, and where they stand in the prompt.
//!
//! A chat template knows no such texts, so it is given marks in their place: characters for private use that no message has. The rendered
//! prompt is cut at the marks; a shared text becomes tokens by itself, so that it has the same ones everywhere.

use std::sync::Arc;

use headwise_engine::kvcomm::{Parts, Slot};
use headwise_models::tokenizer::{AddBos, Encode, Tokenizer};

use super::ApiError;
use super::message::{ChatMessage, Content};

/// Shared texts that were taken out of a conversation.
#[derive(Debug)]
pub struct Shared {
    mark: char,
    texts: Vec<String>,
}

/// Characters for private use.
const MARKS: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

/// How a shared text becomes tokens: what it says is never a control token.
const TEXT: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

impl Shared {
    /// None yet of `messages`.
    pub fn new(messages: &[ChatMessage]) -> Self {
        let used = |mark: &char| {
            messages.iter().any(|message| match &message.content {
                None => false,
                Some(Content::Text(text)) => text.contains(*mark),
                Some(Content::Parts(parts)) => {
                    parts.iter().flat_map(|part| &part.text).any(|text| text.contains(*mark))
                }
            })
        };
        let mark = MARKS.clone().find(|mark| !used(mark)).unwrap_or(*MARKS.start());
        Self { mark, texts: Vec::new() }
    }

    /// Takes `text` out; returns what stands in its place.
    pub fn take(&mut self, text: &str) -> String {
        self.texts.push(text.to_owned());
        self.place(self.texts.len() - 1)
    }

    fn place(&self, number: usize) -> String {
        format!("{0}{number}{0}", self.mark)
    }

    /// Whether no text was taken out.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The prompt that a template has made of the conversation, as tokens, cut where the texts stand.
    pub fn parts(&self, prompt: &str, tokenizer: &Tokenizer) -> Result<Arc<Parts>, ApiError> {
        let wrong = |message: String| ApiError::parameter("messages", message);
        let encode = |text: &str, how| tokenizer.encode(text, how).map_err(|error| wrong(error.to_string()));
        let mut rest = prompt;
        let mut owns = Vec::new();
        for number in 0..self.texts.len() {
            let cut = rest.split_once(&self.place(number)).filter(|(before, _)| !before.contains(self.mark));
            let (before, after) = cut.ok_or_else(|| {
                wrong(format!(
                    "the model's chat template does not write shared text number {number} once and in its place: leave `shared` out"
                ))
            })?;
            owns.push(encode(before, Encode::TEMPLATE)?);
            rest = after;
        }
        if rest.contains(self.mark) {
            return Err(wrong("the model's chat template writes a shared text twice: leave `shared` out".into()));
        }
        owns.push(encode(rest, Encode::TEMPLATE)?);
        let mut owns = owns.into_iter();
        let first = owns.next().unwrap_or_default();
        let slots = self
            .texts
            .iter()
            .zip(owns)
            .map(|(text, own)| Ok::<_, ApiError>(Slot { shared: encode(text, TEXT)?.into(), own: own.into() }));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        Parts::new(first, slots).map(Arc::new).map_err(|error| wrong(error.to_string()))
    }
}

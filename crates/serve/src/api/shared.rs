//! Texts of a conversation that other prompts share, and where they stand in the prompt.
//!
//! The rendered prompt is cut at [marks](super::marks); a shared text becomes tokens by itself, so that it has the same ones everywhere.

use std::sync::Arc;

use headwise_engine::TextModel;
use headwise_engine::kvcomm::{Parts, Slot};
use headwise_models::tokenizer::{AddBos, Encode};

use super::ApiError;
use super::marks::Mark;

/// Shared texts that were taken out of a prompt.
#[derive(Debug)]
pub struct Shared {
    mark: Mark,
    texts: Vec<String>,
}

/// How a shared text becomes tokens: what it says is never a control token.
const TEXT: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

impl Shared {
    /// None yet; `mark` is to stand for them.
    pub fn new(mark: Mark) -> Self {
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

    /// The prompt that a template has made of the conversation or, if `raw`, that is as it is, as tokens, cut where the texts stand. The field
    /// `param` of a request has them.
    pub fn parts(&self, prompt: &str, raw: bool, model: &TextModel, param: &str) -> Result<Arc<Parts>, ApiError> {
        let wrong = |message: String| ApiError::parameter(param, message);
        let encode = |text: &str, how| model.tokenizer.encode(text, how).map_err(|error| wrong(error.to_string()));
        let (start, own) = if raw { (Encode::TEXT, TEXT) } else { (Encode::TEMPLATE, Encode::TEMPLATE) };
        let mut rest = prompt;
        let mut owns = Vec::new();
        for number in 0..self.texts.len() {
            let cut = rest.split_once(&self.place(number)).filter(|(before, _)| !before.contains(self.mark));
            let (before, after) = cut.ok_or_else(|| {
                wrong(format!(
                    "the model's chat template does not write shared text number {number} once and in its place: leave `shared` out"
                ))
            })?;
            owns.push(encode(before, if number == 0 { start } else { own })?);
            rest = after;
        }
        if rest.contains(self.mark) {
            return Err(wrong("the model's chat template writes a shared text twice: leave `shared` out".into()));
        }
        owns.push(encode(rest, own)?);
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

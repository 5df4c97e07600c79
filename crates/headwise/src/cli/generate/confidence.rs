//! How sure the answer in a response is, as it is printed.

use std::error::Error;

use headwise::engine::TextModel;
use headwise::engine::confidence::Confidence;
use serde::Serialize;

/// How sure an answer is.
#[derive(Debug, Serialize)]
pub struct Sure {
    /// `Σ a s` over the response and its variants.
    raw: f64,
    /// The same divided by `Σ s`.
    norm: f64,
    /// Probability of the answer alone.
    answer: f64,
    /// The words that the answer rests on.
    chain: Vec<String>,
}

impl Sure {
    /// Of the answer that reads `answer`, or where the response says that its answer is; none if there is none.
    pub fn of(
        model: &TextModel,
        prompt: &[u32],
        response: &[u32],
        answer: &str,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let text = model.tokenizer.decode(response, true);
        let span = match (answer, text.rfind(answer)) {
            ("", _) => None,
            (_, None) => return Ok(None),
            (_, Some(at)) => Some(at..at + answer.len()),
        };
        let Some(found) = model.confidence(prompt, response, span, Confidence::default())? else { return Ok(None) };
        let word = |&token: &usize| model.tokenizer.decode(&[response[token - prompt.len()]], false);
        let chain = found.chain.iter().map(word).collect();
        Ok(Some(Self { raw: found.raw(), norm: found.norm(), answer: found.answer(), chain }))
    }

    /// One line.
    pub fn line(&self) -> String {
        let Self { raw, norm, answer, chain } = self;
        format!(
            "confidence {norm:.3}, raw {raw:.3e}; probability of the answer alone {answer:.3}; it rests on {chain:?}"
        )
    }
}

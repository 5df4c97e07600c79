//! Where a response has its answer, and which of its words carry no content.

use std::ops::Range;

use headwise_models::tokenizer::TokenKind;

use super::{AnswerConfidence, Confidence};
use crate::{TextError, TextModel};

/// English words that chains do not go through.
const FUNCTION_WORDS: &str = "a about above after again against all also am an and any are as at be because been before being below \
    between both but by can could did do does doing down during each either else ever every few for from further get got had has have \
    having he hence her here hers herself him himself his how however i if in into is it its itself just let lets like may me might more \
    most much must my myself neither no nor not now of off on once only or other ought our ours ourselves out over own per please same \
    shall she should since so some such than that the their theirs them themselves then there therefore these they this those though \
    through thus to too under until up upon us very was we well were what when where whether which while who whom whose why will with \
    within without would yes yet you your yours yourself yourselves okay first next finally step";

/// Whether `word`, a token as text, carries no content: a function word, punctuation or space.
pub fn is_plain(word: &str) -> bool {
    let word = word.trim();
    !word.chars().any(char::is_alphanumeric)
        || FUNCTION_WORDS.split_whitespace().any(|other| other.eq_ignore_ascii_case(word))
}

/// The bytes of the answer in `response`: what stands in the last `\boxed{…}`, or after the last "answer is", to the end of the sentence.
pub fn answer_span(response: &str) -> Option<Range<usize>> {
    const BOX: &str = "\\boxed{";
    const WORDS: &str = "answer is";
    if let Some(start) = response.rfind(BOX).map(|at| at + BOX.len()) {
        let mut depth = 1;
        let end = response[start..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        })?;
        return trimmed(response, start..start + end);
    }
    // Lower case of ASCII leaves bytes where they are.
    let start = response.to_ascii_lowercase().rfind(WORDS)? + WORDS.len();
    let rest = &response[start..];
    let line = rest.find('\n').unwrap_or(rest.len());
    let sentence = rest[..line].match_indices(". ").map(|(at, _)| at).next().unwrap_or(line);
    trimmed(response, start..start + sentence)
}

/// `span` of `text` without colons, quotes and full stops around it, if anything is left.
fn trimmed(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let around = |c: char| c.is_whitespace() || ":.,;!*\"'$".contains(c);
    let inner = text[span.clone()].trim_start_matches(around);
    let start = span.end - inner.len();
    let inner = inner.trim_end_matches(around);
    (!inner.is_empty()).then(|| start..start + inner.len())
}

impl TextModel {
    /// How sure the answer in `response` to `prompt` is: that at the bytes `span` of its text, or where [`answer_span`] finds one. None
    /// if there is no answer to be found.
    pub fn confidence(
        &self,
        prompt: &[u32],
        response: &[u32],
        span: Option<Range<usize>>,
        method: Confidence,
    ) -> Result<Option<AnswerConfidence>, TextError> {
        let mut decoder = self.tokenizer.decoder();
        let mut ends = Vec::with_capacity(response.len());
        let mut text = String::new();
        for &id in response {
            text.push_str(&decoder.push(id));
            ends.push(text.len());
        }
        let Some(span) = span.or_else(|| answer_span(&text)) else { return Ok(None) };
        // The tokens with a byte of the span; one that ends inside it may begin before.
        let start = ends.partition_point(|&end| end <= span.start);
        let end = ends.partition_point(|&end| end < span.end) + 1;
        let answer = prompt.len() + start..prompt.len() + end.min(response.len());
        if answer.is_empty() || prompt.is_empty() {
            return Ok(None);
        }
        let plain = |id: u32| {
            self.tokenizer.token_kind(id) == Some(TokenKind::Control) || is_plain(&self.tokenizer.decode(&[id], false))
        };
        let ids = [prompt, response].concat();
        Ok(Some(method.measure(&self.engine, &ids, prompt.len(), answer, plain)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_where_they_are_said() {
        let found = |text: &'static str| answer_span(text).map(|span| &text[span]);
        assert_eq!(found("So 3 + 4 = 7. The answer is 7."), Some("7"));
        assert_eq!(found("The answer is: \"Paris\". It lies on the Seine."), Some("Paris"));
        assert_eq!(found("The Answer is 3.5\nThat is all."), Some("3.5"));
        assert_eq!(found("the answer is 1. No, the answer is 2"), Some("2"));
        assert_eq!(found("so \\boxed{\\frac{1}{2}} it is"), Some("\\frac{1}{2}"));
        assert_eq!(found("Ärger: THE ANSWER IS Übermut!"), Some("Übermut"));
        for nothing in ["", "7", "the answer is", "the answer is .", "\\boxed{}", "\\boxed{7"] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn words_without_content_are_plain() {
        assert!([" the", "The", ",", " ", "\n", "…", " therefore"].iter().all(|word| is_plain(word)));
        assert!([" seven", "7", "Paris", "é", "aboutness"].iter().all(|word| !is_plain(word)));
    }
}

//! Texts that end what counts as a repetition.

use std::sync::Arc;

use headwise_models::tokenizer::Tokenizer;

/// The text of every token of a vocabulary, in one piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenTexts {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl TokenTexts {
    /// Of texts in the order of their ids.
    pub fn new(texts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut all = Self::default();
        for text in texts {
            all.bytes.extend(text);
            all.ends.push(all.bytes.len());
        }
        all
    }

    /// Of all tokens of `tokenizer`.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        Self::new((0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_bytes(id).unwrap_or_default()))
    }

    /// The text of token `id`; empty if there is no such token.
    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..end]
    }
}

/// Texts that repetitions do not reach over; they may begin and end anywhere in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakers {
    breakers: Vec<String>,
    texts: Arc<TokenTexts>,
}

impl Breakers {
    /// Those that are usual, as in llama.cpp.
    pub const USUAL: [&str; 4] = ["\n", ":", "\"", "*"];

    /// `breakers`, empty ones left out, in texts of tokens that say `texts`.
    pub fn new(mut breakers: Vec<String>, texts: Arc<TokenTexts>) -> Self {
        breakers.retain(|breaker| !breaker.is_empty());
        Self { breakers, texts }
    }

    /// The texts that break.
    pub fn breakers(&self) -> &[String] {
        &self.breakers
    }

    /// Whether token `id` has a breaker in it.
    pub(super) fn breaks(&self, id: u32) -> bool {
        let text = self.texts.get(id);
        self.breakers.iter().any(|breaker| contains(text, breaker.as_bytes()))
    }

    /// How many of the last of `tokens` come after the token in which the last breaker ends; any number from `enough` on is as good.
    pub(super) fn since_last(&self, tokens: &[u32], enough: usize) -> usize {
        let longest = self.breakers.iter().map(String::len).max().unwrap_or(0);
        if longest == 0 {
            return tokens.len();
        }
        // Back to where a breaker that ends within the last `enough` tokens may begin.
        let (mut first, mut before) = (tokens.len().saturating_sub(enough), 0);
        while first > 0 && before + 1 < longest {
            first -= 1;
            before += self.texts.get(tokens[first]).len();
        }
        let tokens = &tokens[first..];
        let text: Vec<u8> = tokens.iter().flat_map(|&id| self.texts.get(id)).copied().collect();
        self.last_end(&text).map_or(tokens.len() + first, |end| self.tokens_after(tokens, end))
    }

    /// Where the last breaker of `text` ends.
    fn last_end(&self, text: &[u8]) -> Option<usize> {
        let ends = self.breakers.iter().filter_map(|breaker| {
            let breaker = breaker.as_bytes();
            text.windows(breaker.len()).rposition(|part| part == breaker).map(|start| start + breaker.len())
        });
        ends.max()
    }

    /// How many of `tokens` come after the one that has byte number `end` of their text, counted from 1.
    fn tokens_after(&self, tokens: &[u32], end: usize) -> usize {
        let mut read = 0;
        let within = tokens.iter().position(|&id| {
            read += self.texts.get(id).len();
            read >= end
        });
        within.map_or(0, |index| tokens.len() - index - 1)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: [&str; 7] = ["a", "b", "ab", "aab", "\n", "x\ny", ""];

    fn breakers(breakers: &[&str]) -> Breakers {
        let texts = TokenTexts::new(TEXTS.iter().map(|text| text.as_bytes().to_vec()));
        Breakers::new(breakers.iter().map(|&text| text.into()).collect(), texts.into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// By definition: the last byte of the last breaker in the whole text, and the tokens after the one that has it.
        #[test]
        fn breakers_are_found_across_tokens(
            tokens in prop::collection::vec(0u32..7, 0..20),
            which in 0usize..4,
            enough in 0usize..22,
        ) {
            let breakers = breakers([&["\n"][..], &["bb"], &["aba", "\n"], &["aabab", "ba", "b"]][which]);
            let text: Vec<u8> = tokens.iter().flat_map(|&id| TEXTS[id as usize].bytes()).collect();
            let found = match breakers.last_end(&text) {
                None => tokens.len(),
                Some(end) => {
                    let lengths = tokens.iter().scan(0, |read, &id| { *read += TEXTS[id as usize].len(); Some(*read) });
                    tokens.len() - 1 - lengths.take_while(|&read| read < end).count()
                }
            };
            prop_assert_eq!(breakers.since_last(&tokens, enough).min(enough), found.min(enough));
        }
    }

    #[test]
    fn tokens_break_if_they_have_a_breaker() {
        let breakers = breakers(&["\n", "", "ab"]);
        let found: Vec<bool> = (0..9).map(|id| breakers.breaks(id)).collect();
        assert_eq!(found, [false, false, true, true, true, true, false, false, false]);
        assert_eq!(Breakers::default().since_last(&[1, 2], 1), 2);
    }
}

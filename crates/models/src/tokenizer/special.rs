//! Special tokens in text: they are cut out before anything else is split.
//!
//! Longer tokens first, each from left to right in what the ones before left over, so that `<|im_start|>` wins over a
//! token `<|im`.

use aho_corasick::AhoCorasick;

use super::error::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary};

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    /// Text without special tokens.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

/// The special tokens of a vocabulary.
pub(super) struct SpecialTokens {
    /// All of them.
    all: Finder,
    /// Only the user-defined ones, which count as text: they are found even where control tokens must not be.
    user_defined: Finder,
}

/// Finds tokens of one set.
struct Finder {
    /// Which tokens occur at all: of the thousands that a vocabulary may reserve, a text holds a handful.
    occurring: AhoCorasick,
    /// Text and id, the longest text first.
    tokens: Vec<(String, u32)>,
}

impl SpecialTokens {
    /// The control, unknown and user-defined tokens of `vocabulary`.
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        use TokenKind::{Control, Unknown, UserDefined};
        Ok(Self {
            all: Finder::new(vocabulary, &[Control, Unknown, UserDefined])?,
            user_defined: Finder::new(vocabulary, &[UserDefined])?,
        })
    }

    /// Cuts the special tokens out of `text`: all of them, or only the user-defined ones.
    pub(super) fn split<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Fragment<'t>> {
        if parse_special { self.all.split(text) } else { self.user_defined.split(text) }
    }
}

impl Finder {
    fn new(vocabulary: &Vocabulary, kinds: &[TokenKind]) -> Result<Self, TokenizerError> {
        let tokens = vocabulary.iter().filter(|(_, _, kind)| kinds.contains(kind));
        let mut tokens: Vec<_> = tokens.map(|(id, text, _)| (text.to_string(), id)).collect();
        tokens.sort_by_key(|(text, id)| (std::cmp::Reverse(text.len()), *id));
        let occurring = AhoCorasick::new(tokens.iter().map(|(text, _)| text)).map_err(TokenizerError::library)?;
        Ok(Self { occurring, tokens })
    }

    fn split<'t>(&self, text: &'t str) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        if text.is_empty() {
            return fragments;
        }
        fragments.push(Fragment::Text(text));
        let mut occurs = vec![false; self.tokens.len()];
        for found in self.occurring.find_overlapping_iter(text) {
            occurs[found.pattern()] = true;
        }
        for ((token, id), _) in self.tokens.iter().zip(&occurs).filter(|(_, occurs)| **occurs) {
            fragments = fragments.into_iter().flat_map(|fragment| cut(fragment, token, *id)).collect();
        }
        fragments
    }
}

/// One fragment with `token` cut out of it.
fn cut<'t>(fragment: Fragment<'t>, token: &str, id: u32) -> Vec<Fragment<'t>> {
    let Fragment::Text(text) = fragment else { return vec![fragment] };
    let mut parts = Vec::new();
    for (number, rest) in text.split(token).enumerate() {
        if number > 0 {
            parts.push(Fragment::Token(id));
        }
        if !rest.is_empty() {
            parts.push(Fragment::Text(rest));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::Spelling;
    use super::*;
    use Fragment::{Text, Token};

    fn special() -> SpecialTokens {
        let tokens = [("a", 1), ("<s>", 3), ("<s>>", 3), ("\n", 4), ("\n\n", 4), ("<unk>", 2)];
        let texts = tokens.iter().map(|(text, _)| Some(text.to_string())).collect();
        let kinds = tokens.iter().map(|(_, kind)| match kind {
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            _ => TokenKind::Normal,
        });
        let vocabulary = Vocabulary::new(texts, kinds.collect(), Spelling::ByteLevel).unwrap();
        SpecialTokens::new(&vocabulary).unwrap()
    }

    #[test]
    fn longer_tokens_win() {
        assert_eq!(special().split("<s>>x<s>", true), [Token(2), Text("x"), Token(1)]);
        assert_eq!(special().split("\n\n\n", true), [Token(4), Token(3)]);
        assert_eq!(special().split("<unk>a", true), [Token(5), Text("a")]);
    }

    #[test]
    fn control_tokens_are_text_where_they_must_not_be_parsed() {
        assert_eq!(special().split("<s>\n<s>", false), [Text("<s>"), Token(3), Text("<s>")]);
        assert_eq!(special().split("", true), []);
    }
}

//! The tokens of a vocabulary: text, type and id.

use std::collections::HashMap;

use crate::gguf::Metadata;

use super::byte_level;
use super::error::TokenizerError;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what no other token can.
    Unknown,
    /// Structures the input, such as the start of a sequence or of a turn; never a piece of the user's text.
    Control,
    /// Text that is found before anything else is split, such as a run of newlines.
    UserDefined,
    /// Reserved.
    Unused,
    /// One byte, for text that no other token covers.
    Byte,
}

/// How a token's text spells bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's: each character stands for one byte.
    ByteLevel,
    /// SentencePiece's: `▁` stands for a space, `<0x0A>` for a byte.
    SentencePiece,
    /// WordPiece's: `##` continues a word, anything else begins one.
    WordPiece,
}

/// The tokens in the order of their ids. A hole (possible in a Hugging Face tokenizer) is a token without text.
pub(super) struct Vocabulary {
    texts: Vec<Option<String>>,
    kinds: Vec<TokenKind>,
    ids: HashMap<String, u32>,
    spelling: Spelling,
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    pub(super) fn from_gguf(metadata: &Metadata, spelling: Spelling) -> Result<Self, TokenizerError> {
        let texts = metadata.strings(TOKENS)?;
        let kinds = match metadata.optional_i32s(TOKEN_TYPE)? {
            Some(types) => {
                check_count(TOKEN_TYPE, types.len(), texts.len())?;
                (0..).zip(types).map(|(id, &number)| kind(id, number)).collect::<Result<_, _>>()?
            }
            None => vec![TokenKind::Normal; texts.len()],
        };
        let named = |(id, text): (usize, &String)| if text.is_empty() { format!("[EMPTY_{id}]") } else { text.clone() };
        Self::new(texts.iter().enumerate().map(named).map(Some).collect(), kinds, spelling)
    }

    /// A vocabulary of these tokens. `kinds` is as long as `texts`.
    pub(super) fn new(
        texts: Vec<Option<String>>,
        kinds: Vec<TokenKind>,
        spelling: Spelling,
    ) -> Result<Self, TokenizerError> {
        if texts.is_empty() {
            return Err(TokenizerError::EmptyVocabulary);
        }
        if i32::try_from(texts.len()).is_err() {
            return Err(TokenizerError::TooManyTokens { found: texts.len() });
        }
        let mut ids = HashMap::with_capacity(texts.len());
        for ((second, text), kind) in (0..).zip(&texts).zip(&kinds) {
            let Some(text) = text else { continue };
            if let Some(first) = ids.insert(text.clone(), second) {
                return Err(TokenizerError::DuplicateToken { text: text.clone(), first, second });
            }
            if *kind == TokenKind::Byte && byte_of(text).is_none() {
                return Err(TokenizerError::MalformedByteToken { id: second, text: text.clone() });
            }
        }
        Ok(Self { texts, kinds, ids, spelling })
    }

    /// The number of ids.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a token as the vocabulary spells it.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize)?.as_deref()
    }

    /// The type of a token.
    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The token with this text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// All tokens: id, text, type.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, TokenKind)> {
        let tokens = (0..).zip(&self.texts).zip(&self.kinds);
        tokens.filter_map(|((id, text), &kind)| Some((id, text.as_deref()?, kind)))
    }

    /// The bytes that a token stands for.
    pub(super) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let text = self.text(id)?;
        Some(match (self.kind(id)?, self.spelling) {
            (TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined, _) => text.as_bytes().to_vec(),
            (TokenKind::Byte, _) => byte_of(text).into_iter().collect(),
            (_, Spelling::ByteLevel) => byte_level::decode(text),
            (_, Spelling::SentencePiece) => text.replace('▁', " ").into_bytes(),
            (_, Spelling::WordPiece) => match text.strip_prefix("##") {
                Some(rest) => rest.as_bytes().to_vec(),
                None => format!(" {text}").into_bytes(),
            },
        })
    }
}

/// A list with one entry per token must be as long as the vocabulary.
pub(super) fn check_count(key: &'static str, found: usize, expected: usize) -> Result<(), TokenizerError> {
    if found == expected { Ok(()) } else { Err(TokenizerError::CountMismatch { key, found, expected }) }
}

/// The byte that `<0x41>` names.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn kind(id: u32, number: i32) -> Result<TokenKind, TokenizerError> {
    Ok(match number {
        // 0 is "undefined": writers that know no types leave it.
        0 | 1 => TokenKind::Normal,
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte,
        found => return Err(TokenizerError::UnknownTokenType { id, found }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_are_two_hexadecimal_digits() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        assert_eq!(byte_of("<0xff>"), Some(255));
        for text in ["<0x>", "<0x0>", "<0x+A>", "<0x100>", "0x0A", "<0x0A"] {
            assert_eq!(byte_of(text), None, "{text}");
        }
    }

    #[test]
    fn each_spelling_gives_the_bytes_of_its_tokens() {
        let vocabulary = |text: &str, spelling| {
            Vocabulary::new(vec![Some(text.to_string())], vec![TokenKind::Normal], spelling).unwrap().bytes(0).unwrap()
        };
        assert_eq!(vocabulary("Ġa", Spelling::ByteLevel), b" a");
        assert_eq!(vocabulary("▁a▁", Spelling::SentencePiece), b" a ");
        assert_eq!(vocabulary("##ing", Spelling::WordPiece), b"ing");
        assert_eq!(vocabulary("sing", Spelling::WordPiece), b" sing");
    }
}

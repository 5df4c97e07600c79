//! Text to tokens for training: bytes, or the tokenizer of a model.

use std::path::Path;

use headwise_models::tokenizer::{AddBos, Encode, Tokenizer};

use super::DataError;

/// How text becomes tokens.
#[derive(Debug)]
pub enum Codec {
    /// Every byte is a token.
    Bytes,
    /// A trained vocabulary.
    Tokenizer(Box<Tokenizer>),
}

impl Codec {
    /// Reads the `tokenizer.json` at `path`, or in the folder `path`.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Self::Tokenizer(Box::new(Tokenizer::from_file(path)?)))
    }

    /// The tokens of `text`, without any that mark its ends.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::Tokenizer(tokenizer) => {
                Ok(tokenizer.encode(text, Encode { add_bos: AddBos::Never, parse_special: false })?)
            }
        }
    }

    /// Tokens that there are: every id is below.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Bytes => 256,
            Self::Tokenizer(tokenizer) => tokenizer.vocab_size(),
        }
    }

    /// The token that ends a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        match self {
            Self::Bytes => None,
            Self::Tokenizer(tokenizer) => tokenizer.eos_id(),
        }
    }

    /// Bytes of text that token `id` stands for.
    pub fn bytes(&self, id: u32) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Tokenizer(tokenizer) => tokenizer.token_bytes(id).map_or(0, |bytes| bytes.len()),
        }
    }
}

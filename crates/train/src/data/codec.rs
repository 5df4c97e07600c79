//! Text to tokens for training: bytes, or the tokenizer of a model.

use std::path::Path;

use headwise_models::tokenizer::{AddBos, Encode, Tokenizer};

use super::{Bpe, DataError, SourceSpec, bpe};

headwise_spec::family! {
    /// How text becomes tokens.
    pub enum TokenizerSpec: "tokenizer" {
        bytes => Bytes,
        bpe => Bpe,
        tokenizer_file => TokenizerFile,
    }
}

headwise_spec::method! {
    /// Every byte is a token.
    pub struct Bytes {}
}

headwise_spec::method! {
    /// The `tokenizer.json` of a model.
    pub struct TokenizerFile {
        /// The file, or the folder that holds it.
        pub path: String = String::new(),
    }
}

/// How text becomes tokens.
#[derive(Debug)]
pub enum Codec {
    /// Every byte is a token.
    Bytes,
    /// A trained vocabulary.
    Tokenizer(Box<Tokenizer>),
}

impl Codec {
    /// What `spec` describes; a vocabulary that is learnt is kept in `folder`.
    pub fn of(spec: &TokenizerSpec, sources: &[SourceSpec], folder: &Path) -> Result<Self, DataError> {
        match spec {
            TokenizerSpec::Bytes(_) => Ok(Self::Bytes),
            TokenizerSpec::TokenizerFile(file) => Self::open(Path::new(&file.path)),
            TokenizerSpec::Bpe(spec) => {
                let path = folder.join("tokenizer.json");
                let write = |path: &Path, text: &str| {
                    std::fs::write(path, text).map_err(|source| DataError::Io { path: path.into(), source })
                };
                if !path.exists() {
                    write(&path, &bpe::learn(spec, sources)?)?;
                    write(&folder.join("tokenizer_config.json"), bpe::CONFIG)?;
                }
                Self::open(&path)
            }
        }
    }

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

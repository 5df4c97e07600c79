//! Text to tokens for training: bytes, or the tokenizer of a model.

use std::path::Path;

use headwise_models::tokenizer::{AddBos, Encode, Tokenizer};
use sha2::{Digest, Sha256};

use super::{Bpe, Bytes, DataError, SourceSpec, bpe};

headwise_spec::family! {
    /// How text becomes tokens.
    pub enum TokenizerSpec: "tokenizer" {
        bytes => Bytes,
        bpe => Bpe,
        tokenizer_file => TokenizerFile,
    }
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
    Tokenizer {
        /// What encodes.
        tokenizer: Box<Tokenizer>,
        /// See [`Codec::hash`].
        hash: [u8; 32],
    },
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
        let tokenizer = Box::new(Tokenizer::from_file(path)?);
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let text = std::fs::read(&path).map_err(|source| DataError::Io { path, source })?;
        let hash = Sha256::new().chain_update(text).chain_update(format!("{:?}", tokenizer.eos_id())).finalize().into();
        Ok(Self::Tokenizer { tokenizer, hash })
    }

    /// A SHA-256 that is another for tokenizers that make other tokens of texts: of the file, and of the token that ends a text.
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Self::Bytes => Sha256::digest("bytes").into(),
            Self::Tokenizer { hash, .. } => *hash,
        }
    }

    /// The tokens of `text`, without any that mark its ends.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::Tokenizer { tokenizer, .. } => {
                Ok(tokenizer.encode(text, Encode { add_bos: AddBos::Never, parse_special: false })?)
            }
        }
    }

    /// The tokens of a whole text, with the one that ends it.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut tokens = self.encode(text)?;
        tokens.extend(self.end());
        Ok(tokens)
    }

    /// Tokens that there are: every id is below.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Bytes => Bytes::COUNT,
            Self::Tokenizer { tokenizer, .. } => tokenizer.vocab_size(),
        }
    }

    /// The token that ends a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        match self {
            Self::Bytes => None,
            Self::Tokenizer { tokenizer, .. } => tokenizer.eos_id(),
        }
    }

    /// The token that stands for a hidden one, if there is one.
    pub fn mask(&self) -> Option<u32> {
        match self {
            Self::Bytes => None,
            Self::Tokenizer { tokenizer, .. } => {
                ["[MASK]", "<mask>"].into_iter().find_map(|text| tokenizer.token_id(text))
            }
        }
    }

    /// Bytes of text that token `id` stands for.
    pub fn bytes(&self, id: u32) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Tokenizer { tokenizer, .. } => tokenizer.token_bytes(id).map_or(0, |bytes| bytes.len()),
        }
    }
}

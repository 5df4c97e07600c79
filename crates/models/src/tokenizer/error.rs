//! What can be wrong with a tokenizer.

use std::path::PathBuf;

use crate::gguf::MetadataError;

/// Why a tokenizer could not be built, or could not encode a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A kind of tokenizer that is not implemented.
    #[error(
        "tokenizer.ggml.model is \"{found}\"; supported are gpt2 (byte-level BPE), llama (scored BPE), bert (WordPiece)"
    )]
    UnsupportedModel {
        /// The kind in the metadata.
        found: String,
    },
    /// A way to split text before BPE that is not in the table.
    #[error("tokenizer.ggml.pre is \"{found}\"; supported are {supported}")]
    UnsupportedPre {
        /// The name in the metadata.
        found: String,
        /// The names in the table.
        supported: String,
    },
    /// No tokens.
    #[error("tokenizer.ggml.tokens is empty")]
    EmptyVocabulary,
    /// More tokens than a token id can count.
    #[error("tokenizer.ggml.tokens has {found} entries; at most 2147483647 are allowed")]
    TooManyTokens {
        /// The number of tokens.
        found: usize,
    },
    /// A list with one entry per token that has another length than the vocabulary.
    #[error("{key} has {found} entries for {expected} tokens")]
    CountMismatch {
        /// The list.
        key: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// A token type that GGUF does not define.
    #[error(
        "token {id} has the type {found}; types are 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte"
    )]
    UnknownTokenType {
        /// The token.
        id: u32,
        /// The type found.
        found: i32,
    },
    /// The same text for two tokens.
    #[error("tokens {first} and {second} are both \"{}\"", text.escape_debug())]
    DuplicateToken {
        /// The text.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A token of type byte that does not name a byte.
    #[error("token {id} is of type byte, but \"{}\" is not of the form <0x41>", text.escape_debug())]
    MalformedByteToken {
        /// The token.
        id: u32,
        /// Its text.
        text: String,
    },
    /// A byte that no token stands for.
    #[error(
        "no token stands for the byte 0x{byte:02X} (neither <0x{byte:02X}> nor the character), and there is no unknown token"
    )]
    NoTokenForByte {
        /// The byte.
        byte: u8,
    },
    /// A score that is not a number.
    #[error("tokenizer.ggml.scores: token {id} has the score {score}; scores must be finite")]
    BadScore {
        /// The token.
        id: u32,
        /// Its score.
        score: f32,
    },
    /// A merge that is not two tokens with a space between them.
    #[error("tokenizer.ggml.merges: merge {index} is \"{}\", not two tokens with a space between them", merge.escape_debug())]
    MalformedMerge {
        /// Its place in the list.
        index: usize,
        /// Its text.
        merge: String,
    },
    /// A merge of, or into, something that is not a token.
    #[error(
        "tokenizer.ggml.merges: merge {index} is \"{}\", but \"{}\" is not a token",
        merge.escape_debug(),
        token.escape_debug()
    )]
    MergeOfUnknownToken {
        /// Its place in the list.
        index: usize,
        /// Its text.
        merge: String,
        /// The part that is not a token.
        token: String,
    },
    /// A special token id beyond the vocabulary.
    #[error("{key} is {id}, but there are only {vocab_size} tokens")]
    IdOutOfRange {
        /// The metadata key.
        key: &'static str,
        /// The id.
        id: u32,
        /// The number of tokens.
        vocab_size: usize,
    },
    /// A flag asks for a token that is not named.
    #[error("{flag} is set, but {key} is missing")]
    MissingSpecialToken {
        /// The flag.
        flag: &'static str,
        /// The key that names the token.
        key: &'static str,
    },
    /// A token of the given name was asked for, and the tokenizer has none.
    #[error("a beginning-of-sequence token was asked for, but this tokenizer has none")]
    NoBos,
    /// A file of a Hugging Face tokenizer cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The text of a Hugging Face tokenizer makes no sense.
    #[error("tokenizer: {0}")]
    Json(String),
    /// The `tokenizers` library refused.
    #[error("tokenizer: {0}")]
    Library(String),
}

impl TokenizerError {
    /// An error of the `tokenizers` library or of the pattern matcher under it.
    pub(super) fn library(error: impl std::fmt::Display) -> Self {
        TokenizerError::Library(error.to_string())
    }
}

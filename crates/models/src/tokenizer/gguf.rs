//! A tokenizer from the metadata of a GGUF file. Flags that the file does not have take llama.cpp's defaults.

use crate::gguf::Metadata;

use super::byte_level::ByteLevel;
use super::error::TokenizerError;
use super::hugging_face;
use super::pre_tokenizer::PreTokenizer;
use super::scored::Scored;
use super::special::SpecialTokens;
use super::vocabulary::{Spelling, Vocabulary};
use super::word_piece::WordPiece;
use super::{Boundaries, Model, Result, Tokenizer, end_of_generation};

const MODEL: &str = "tokenizer.ggml.model";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const EOM: &str = "tokenizer.ggml.eom_token_id";
const CLS: &str = "tokenizer.ggml.cls_token_id";
/// Misspelled in the format.
const SEP: &str = "tokenizer.ggml.seperator_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// Builds the tokenizer that `tokenizer.ggml.*` describes.
pub(super) fn build(metadata: &Metadata) -> Result<Tokenizer> {
    if !metadata.contains(MODEL) && metadata.contains(hugging_face::JSON) {
        return hugging_face::from_gguf(metadata);
    }
    let (model, vocabulary, boundaries) = match metadata.string(MODEL)? {
        "gpt2" => byte_level(metadata)?,
        "llama" => scored(metadata)?,
        "bert" => word_piece(metadata)?,
        found => return Err(TokenizerError::UnsupportedModel { found: found.into() }),
    };
    let ids = Ids { metadata, vocabulary: &vocabulary };
    let named = [boundaries.eos, ids.get(EOT)?, ids.get(EOM)?];
    let end_of_generation = end_of_generation(&vocabulary, named.into_iter().flatten());
    Ok(Tokenizer { model, vocabulary, boundaries, end_of_generation })
}

fn byte_level(metadata: &Metadata) -> Result<(Model, Vocabulary, Boundaries)> {
    let pre = match metadata.optional_string("tokenizer.ggml.pre")? {
        Some(name) => PreTokenizer::named(name)?,
        None => {
            tracing::warn!("the file does not say how text is split (tokenizer.ggml.pre): using \"default\"");
            PreTokenizer::named("default")?
        }
    };
    let vocabulary = Vocabulary::from_gguf(metadata, Spelling::ByteLevel)?;
    let model = ByteLevel::from_gguf(metadata, &vocabulary, pre)?;
    let ids = Ids { metadata, vocabulary: &vocabulary };
    let boundaries = Boundaries {
        bos: ids.get(BOS)?,
        eos: ids.get(EOS)?,
        add_bos: metadata.optional_bool(ADD_BOS)?.unwrap_or(pre.add_bos),
        add_eos: metadata.optional_bool(ADD_EOS)?.unwrap_or(false),
        space_prefix: false,
    };
    let special = SpecialTokens::new(&vocabulary)?;
    Ok((Model::ByteLevel(model, special), vocabulary, boundaries.checked(BOS)?))
}

fn scored(metadata: &Metadata) -> Result<(Model, Vocabulary, Boundaries)> {
    let vocabulary = Vocabulary::from_gguf(metadata, Spelling::SentencePiece)?;
    let space_prefix = metadata.optional_bool(ADD_SPACE_PREFIX)?.unwrap_or(true);
    let model = Scored::from_gguf(metadata, &vocabulary, space_prefix)?;
    let ids = Ids { metadata, vocabulary: &vocabulary };
    let boundaries = Boundaries {
        bos: ids.or(BOS, 1)?,
        eos: ids.or(EOS, 2)?,
        add_bos: metadata.optional_bool(ADD_BOS)?.unwrap_or(true),
        add_eos: metadata.optional_bool(ADD_EOS)?.unwrap_or(false),
        space_prefix,
    };
    let special = SpecialTokens::new(&vocabulary)?;
    Ok((Model::Scored(model, special), vocabulary, boundaries.checked(BOS)?))
}

fn word_piece(metadata: &Metadata) -> Result<(Model, Vocabulary, Boundaries)> {
    // GGUF spells the start of a word as SentencePiece does, with `▁`.
    let vocabulary = Vocabulary::from_gguf(metadata, Spelling::SentencePiece)?;
    let ids = Ids { metadata, vocabulary: &vocabulary };
    let unknown = ids.or(UNKNOWN, 100)?;
    let unknown =
        unknown.ok_or(TokenizerError::MissingSpecialToken { flag: "tokenizer.ggml.model = \"bert\"", key: UNKNOWN })?;
    let model = WordPiece::from_gguf(metadata, &vocabulary, unknown)?;
    // `[CLS]` text `[SEP]`: BERT's boundaries under their own names.
    let bos = match ids.get(BOS)? {
        Some(id) => Some(id),
        None => ids.or(CLS, 101)?,
    };
    let boundaries = Boundaries { bos, eos: ids.or(SEP, 102)?, add_bos: true, add_eos: true, space_prefix: true };
    let special = SpecialTokens::new(&vocabulary)?;
    Ok((Model::WordPiece(model, special), vocabulary, boundaries.checked(CLS)?))
}

impl Boundaries {
    /// A flag that adds a token needs the token; `bos` is the key that would name the first one.
    fn checked(self, bos: &'static str) -> Result<Self> {
        if self.add_bos && self.bos.is_none() {
            return Err(TokenizerError::MissingSpecialToken { flag: ADD_BOS, key: bos });
        }
        if self.add_eos && self.eos.is_none() {
            return Err(TokenizerError::MissingSpecialToken { flag: ADD_EOS, key: EOS });
        }
        Ok(self)
    }
}

/// The metadata keys that name a token.
struct Ids<'a> {
    metadata: &'a Metadata,
    vocabulary: &'a Vocabulary,
}

impl Ids<'_> {
    /// The token that `key` names, which must exist.
    fn get(&self, key: &'static str) -> Result<Option<u32>> {
        match self.metadata.optional_u32(key)? {
            Some(id) if id as usize >= self.vocabulary.len() => {
                Err(TokenizerError::IdOutOfRange { key, id, vocab_size: self.vocabulary.len() })
            }
            id => Ok(id),
        }
    }

    /// The token that `key` names, else `default` if there is such a token.
    fn or(&self, key: &'static str, default: u32) -> Result<Option<u32>> {
        Ok(self.get(key)?.or((self.vocabulary.len() > default as usize).then_some(default)))
    }
}

//! WordPiece (`tokenizer.ggml.model = bert`): text is cleaned, lower-cased and split into words, each covered by the
//! longest tokens from its start on. Schuster and Nakajima 2012; Devlin et al. 2019, arXiv:1810.04805.
//!
//! GGUF marks the start of a word with `▁` and leaves continuations bare, where BERT marks continuations with `##`: the
//! model is BERT's, so the tokens are spelled its way again.

use tokenizers::Tokenizer;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece as Model;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use crate::gguf::Metadata;

use super::error::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary};

/// WordPiece over one vocabulary.
pub(super) struct WordPiece {
    tokenizer: Tokenizer,
}

impl WordPiece {
    /// Builds the model; `unknown` is the token of a word that no tokens cover.
    pub(super) fn from_gguf(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        unknown: u32,
    ) -> Result<Self, TokenizerError> {
        let lowercase = metadata.optional_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
        let strip_accents = metadata.optional_bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
        let tokens: Vocab = vocabulary.iter().map(|(id, text, kind)| (spelled_for_bert(text, kind), id)).collect();
        let unknown = vocabulary.text(unknown).unwrap_or_default().to_string();
        let unknown = spelled_for_bert(&unknown, TokenKind::Unknown);
        let model = Model::builder().vocab(tokens).unk_token(unknown).build().map_err(TokenizerError::library)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, Some(strip_accents), lowercase)));
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(Self { tokenizer })
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(TokenizerError::library)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

/// `▁word` as `word`, `rest` as `##rest`, special tokens as they are.
fn spelled_for_bert(text: &str, kind: TokenKind) -> String {
    let special = kind != TokenKind::Normal || (text.starts_with('[') && text.ends_with(']') && text.len() > 2);
    match text.strip_prefix('▁') {
        Some(word) => word.to_string(),
        None if special => text.to_string(),
        None => format!("##{text}"),
    }
}

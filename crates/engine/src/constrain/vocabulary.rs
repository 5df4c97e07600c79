//! The tokens of a model as a tree of bytes.

use std::sync::Arc;

use headwise_models::tokenizer::{TokenKind, Tokenizer};
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use super::ConstraintError;

/// Bytes of a token that the tree has room for; a longer one is never allowed.
const LONGEST: usize = 1000;
/// Bytes of all tokens that the tree has room for.
const MOST: usize = 1 << 22;

/// The tree of the tokens of `tokenizer`, and those that end a text.
///
/// What is not text (control tokens, holes, bytes that no text has) is marked, so that no form made of text allows it.
pub(super) fn tree(tokenizer: &Tokenizer) -> Result<(TokEnv, Vec<u32>), ConstraintError> {
    let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32).map(|id| word(tokenizer, id)).collect();
    let bytes: usize = words.iter().map(Vec::len).sum();
    if bytes >= MOST || words.len() >= MOST {
        return Err(ConstraintError::Vocabulary(format!("they have {bytes} bytes, at most {MOST} are possible")));
    }
    let ends = tokenizer.end_of_generation_ids().to_vec();
    let mut tree = TokTrie::from(&TokRxInfo::new(words.len() as u32, INVALID_TOKEN), &words);
    if !ends.is_empty() {
        tree = tree.with_eos_tokens(&ends);
    }
    Ok((Arc::new(ApproximateTokEnv::new(tree)), ends))
}

fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let mut word = match tokenizer.token_kind(id) {
        Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte) => bytes,
        Some(TokenKind::Control | TokenKind::Unknown) => [&[TokTrie::SPECIAL_TOKEN_MARKER], &bytes[..]].concat(),
        Some(TokenKind::Unused) | None => Vec::new(),
    };
    let text = !matches!(tokenizer.token_kind(id), Some(TokenKind::Control | TokenKind::Unknown));
    if word.len() > LONGEST || (text && word.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER)) {
        word.clear();
    }
    word
}

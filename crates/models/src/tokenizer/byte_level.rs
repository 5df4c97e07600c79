//! Byte-level BPE (`tokenizer.ggml.model = gpt2`): text is split by patterns, each piece is spelled with one character
//! per byte, and neighbouring pieces merge in the order of the list of merges.
//!
//! The alphabet of 256 characters is GPT-2's: bytes that are visible in Latin-1 stand for themselves, the others for
//! U+0100 onwards, so that a space is `Ġ`. Radford et al. 2019; merges after Sennrich et al. 2016, arXiv:1508.07909.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel as ByteAlphabet;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use crate::gguf::Metadata;

use super::error::TokenizerError;
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::Vocabulary;

const MERGES: &str = "tokenizer.ggml.merges";

/// Byte-level BPE over one vocabulary.
pub(super) struct ByteLevel {
    tokenizer: Tokenizer,
    vocab_size: u32,
}

impl ByteLevel {
    /// Builds the model from `tokenizer.ggml.merges` and the patterns of `pre`.
    pub(super) fn from_gguf(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        pre: &PreTokenizer,
    ) -> Result<Self, TokenizerError> {
        let merges = metadata.strings(MERGES)?;
        let merges = (0..).zip(merges).map(|(index, merge)| split_merge(vocabulary, index, merge));
        let merges: Vec<_> = merges.collect::<Result<_, _>>()?;

        let vocab_size = vocabulary.len() as u32;
        let mut tokens: Vocab = vocabulary.iter().map(|(id, text, _)| (text.to_string(), id)).collect();
        // A byte without a token is dropped from the text. It must not vanish before the merges, though, or its
        // neighbours would meet and merge: it gets an id beyond the vocabulary, which `encode` takes out.
        for (id, character) in (vocab_size..).zip(ALPHABET) {
            tokens.entry(character.to_string()).or_insert(id);
        }
        let model = BPE::builder()
            .vocab_and_merges(tokens, first_of_each(merges))
            .ignore_merges(pre.ignore_merges)
            .build()
            .map_err(TokenizerError::library)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(splits(pre)?)));
        Ok(Self { tokenizer, vocab_size })
    }

    /// Appends the ids of `text`, which holds no special tokens.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(TokenizerError::library)?;
        ids.extend(encoding.get_ids().iter().filter(|&&id| id < self.vocab_size));
        Ok(())
    }
}

/// The two tokens of a merge. Both, and what they merge into, must be tokens.
fn split_merge(vocabulary: &Vocabulary, index: usize, merge: &str) -> Result<(String, String), TokenizerError> {
    let malformed = || TokenizerError::MalformedMerge { index, merge: merge.into() };
    // The first character belongs to the left token even if it is a space.
    let first = merge.chars().next().ok_or_else(malformed)?.len_utf8();
    let space = merge[first..].find(' ').ok_or_else(malformed)? + first;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    if right.is_empty() {
        return Err(malformed());
    }
    for token in [left, right, &format!("{left}{right}")] {
        if vocabulary.id(token).is_none() {
            return Err(TokenizerError::MergeOfUnknownToken { index, merge: merge.into(), token: token.into() });
        }
    }
    Ok((left.into(), right.into()))
}

/// Only the first of equal merges counts, where the library would take the last.
fn first_of_each(merges: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut seen = std::collections::HashSet::with_capacity(merges.len());
    let first: Vec<bool> = merges.iter().map(|merge| seen.insert(merge)).collect();
    merges.into_iter().zip(first).filter_map(|(merge, first)| first.then_some(merge)).collect()
}

/// The patterns one after the other, each splitting what the one before left whole or matched, then the spelling in
/// bytes.
fn splits(pre: &PreTokenizer) -> Result<Vec<PreTokenizerWrapper>, TokenizerError> {
    let mut splits = Vec::new();
    for pattern in pre.patterns {
        let pattern = SplitPattern::Regex(pattern.to_string());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(TokenizerError::library)?;
        splits.push(PreTokenizerWrapper::Split(split));
    }
    splits.push(PreTokenizerWrapper::ByteLevel(ByteAlphabet::new(false, false, false)));
    Ok(splits)
}

/// The character of each byte.
pub const ALPHABET: [char; 256] = alphabet();

const fn alphabet() -> [char; 256] {
    let mut characters = ['\0'; 256];
    let mut shifted = 0x100;
    let mut byte = 0;
    while byte < 256 {
        characters[byte] = match byte as u8 {
            visible @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => visible as char,
            _ => {
                shifted += 1;
                match char::from_u32(shifted - 1) {
                    Some(character) => character,
                    None => '\0',
                }
            }
        };
        byte += 1;
    }
    characters
}

/// The byte of each character of the alphabet, by code point.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[ALPHABET[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// The bytes that `text` spells. A character outside the alphabet stands for itself.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match BYTES.get(character as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s_and_decodes() {
        let library = ByteAlphabet::alphabet();
        assert_eq!(ALPHABET.len(), library.len());
        assert!(ALPHABET.iter().all(|character| library.contains(character)));
        assert_eq!(ALPHABET[b' ' as usize], 'Ġ');
        assert_eq!(ALPHABET[b'\n' as usize], 'Ċ');
        for (byte, character) in (0..=255).zip(ALPHABET) {
            assert_eq!(decode(&character.to_string()), [byte]);
        }
        assert_eq!(decode("日"), "日".as_bytes());
    }
}

//! Scored BPE (`tokenizer.ggml.model = llama`), as SentencePiece does it: neighbouring pieces merge if together they
//! are a token, the pair with the highest score first, the leftmost of equals; a character that is no token falls back
//! to its bytes.
//!
//! Written here because the library's BPE orders merges by pair: it cannot express "by the score of the result", which
//! needs no list of merges (Gemma's files have none). Kudo and Richardson 2018, arXiv:1808.06226.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::gguf::Metadata;

use super::error::TokenizerError;
use super::vocabulary::{TokenKind, Vocabulary, check_count};

const SCORES: &str = "tokenizer.ggml.scores";

/// No neighbour.
const NONE: usize = usize::MAX;

/// Scored BPE over one vocabulary.
pub(super) struct Scored {
    /// The score of each token.
    scores: Vec<f32>,
    /// The token of each byte.
    bytes: Box<[u32; 256]>,
    /// Whether a text gets a space before it.
    add_space_prefix: bool,
}

/// A piece of the text: a character at first, longer after merges, empty once merged into its left neighbour.
struct Symbol {
    start: usize,
    end: usize,
    left: usize,
    right: usize,
}

/// Two neighbours that together are a token.
#[derive(PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    /// The length of the token: if the neighbours have changed since, it differs.
    length: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Scored {
    /// Reads `tokenizer.ggml.scores`.
    pub(super) fn from_gguf(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        add_space_prefix: bool,
    ) -> Result<Self, TokenizerError> {
        let scores = metadata.f32s(SCORES)?;
        check_count(SCORES, scores.len(), vocabulary.len())?;
        if let Some((id, &score)) = (0..).zip(scores).find(|(_, score)| !score.is_finite()) {
            return Err(TokenizerError::BadScore { id, score });
        }
        Ok(Self { scores: scores.to_vec(), bytes: Box::new(byte_tokens(vocabulary)?), add_space_prefix })
    }

    /// Appends the ids of `text`, which holds no special tokens. `after_special` is true at the start of the input and
    /// after a special token.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, after_special: bool, ids: &mut Vec<u32>) {
        let prefix = if self.add_space_prefix && after_special { "▁" } else { "" };
        let text = format!("{prefix}{}", text.replace(' ', "▁"));
        let symbols = self.merge(vocabulary, &text);
        for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let piece = &text[symbol.start..symbol.end];
            match vocabulary.id(piece) {
                Some(id) => ids.push(id),
                None => ids.extend(piece.bytes().map(|byte| self.bytes[byte as usize])),
            }
        }
    }

    /// Merges the characters of `text` until no two neighbours are a token together.
    fn merge(&self, vocabulary: &Vocabulary, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(at, (start, character))| Symbol {
                start,
                end: start + character.len_utf8(),
                left: at.checked_sub(1).unwrap_or(NONE),
                right: at + 1,
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.right = NONE;
        }
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            queue.extend(self.candidate(vocabulary, text, &symbols, right - 1, right));
        }
        while let Some(Candidate { left, right, length, .. }) = queue.pop() {
            let sizes = [left, right].map(|at| symbols[at].end - symbols[at].start);
            if sizes.contains(&0) || sizes[0] + sizes[1] != length {
                continue;
            }
            let next = symbols[right].right;
            symbols[left].end = symbols[right].end;
            symbols[left].right = next;
            symbols[right].start = symbols[right].end;
            if next != NONE {
                symbols[next].left = left;
            }
            queue.extend(self.candidate(vocabulary, text, &symbols, symbols[left].left, left));
            queue.extend(self.candidate(vocabulary, text, &symbols, left, next));
        }
        symbols
    }

    fn candidate(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
    ) -> Option<Candidate> {
        let (first, second) = (symbols.get(left)?, symbols.get(right)?);
        let id = vocabulary.id(&text[first.start..second.end])?;
        let score = *self.scores.get(id as usize)?;
        Some(Candidate { score, left, right, length: second.end - first.start })
    }
}

/// The token of each byte: `<0x41>`, else the character itself, else the unknown token.
fn byte_tokens(vocabulary: &Vocabulary) -> Result<[u32; 256], TokenizerError> {
    let unknown = vocabulary.iter().find(|(_, _, kind)| *kind == TokenKind::Unknown).map(|(id, _, _)| id);
    let mut tokens = [0; 256];
    for byte in 0..=255u8 {
        let named = vocabulary.id(&format!("<0x{byte:02X}>"));
        let character = || byte.is_ascii().then(|| vocabulary.id(&char::from(byte).to_string())).flatten();
        let token = named.or_else(character).or(unknown);
        tokens[byte as usize] = token.ok_or(TokenizerError::NoTokenForByte { byte })?;
    }
    Ok(tokens)
}

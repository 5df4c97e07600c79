//! Text to token ids and back.
//!
//! A [`Tokenizer`] is built from the metadata of a GGUF file or from a Hugging Face `tokenizer.json`. From GGUF there
//! are three kinds:
//!
//! | `tokenizer.ggml.model` | text is | see |
//! |---|---|---|
//! | `gpt2` | split by patterns, spelled in bytes, merged by a list of merges | `byte_level`, `pre_tokenizer` |
//! | `llama` | merged by the scores of the tokens, bytes where no token fits | `scored` |
//! | `bert` | split into words, each covered by the longest tokens | `word_piece` |
//!
//! In all three, special tokens are cut out of the text first (`special`), and the ids equal llama.cpp's. A beginning-
//! or end-of-sequence token is added only as the file's flags say. For a Hugging Face tokenizer the library does all of
//! this by the rules of its file.

mod byte_level;
mod error;
mod gguf;
mod hugging_face;
mod pre_tokenizer;
mod scored;
mod special;
mod stream;
mod vocabulary;
mod word_piece;

use std::fmt;
use std::path::Path;

pub use byte_level::ALPHABET as BYTE_ALPHABET;
pub use error::TokenizerError;
pub use stream::StreamDecoder;
pub use vocabulary::TokenKind;

use crate::gguf::Metadata;
use byte_level::ByteLevel;
use hugging_face::HuggingFace;
use scored::Scored;
use special::{Fragment, SpecialTokens};
use vocabulary::Vocabulary;
use word_piece::WordPiece;

/// The result of this module.
pub type Result<T> = std::result::Result<T, TokenizerError>;

/// Texts that end an answer, whatever the metadata names. `</s>` is not among them: where it ends a sequence the
/// metadata says so, and in Gemma's vocabulary it is a piece of HTML.
const END_OF_GENERATION: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
];

/// Text to token ids and back.
pub struct Tokenizer {
    model: Model,
    vocabulary: Vocabulary,
    boundaries: Boundaries,
    end_of_generation: Vec<u32>,
}

/// How a piece of text becomes ids.
enum Model {
    ByteLevel(ByteLevel, SpecialTokens),
    Scored(Scored, SpecialTokens),
    WordPiece(WordPiece, SpecialTokens),
    HuggingFace(Box<HuggingFace>),
}

/// What is put around a text.
#[derive(Clone, Copy, Debug, Default)]
struct Boundaries {
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    /// A text starts with a space that is not the user's, which decoding takes off again.
    space_prefix: bool,
}

/// How to encode a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Whether the text gets a beginning-of-sequence token.
    pub add_bos: AddBos,
    /// Whether the text of a control token, such as `<|im_start|>`, becomes that token. If not it is text like any
    /// other: leave this off for what a user typed, and on for a rendered chat template.
    pub parse_special: bool,
}

/// Whether a text gets a beginning-of-sequence token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddBos {
    /// As the tokenizer's flags say, and an end-of-sequence token likewise.
    #[default]
    Auto,
    /// Always; no end-of-sequence token.
    Always,
    /// Never; no end-of-sequence token either.
    Never,
}

impl Encode {
    /// For a plain text: boundaries as the flags say, control tokens are not parsed.
    pub const TEXT: Self = Self { add_bos: AddBos::Auto, parse_special: false };
    /// For a rendered chat template, which writes its own boundaries.
    pub const TEMPLATE: Self = Self { add_bos: AddBos::Never, parse_special: true };
}

impl Tokenizer {
    /// Builds the tokenizer that `tokenizer.ggml.*` describes or, without that, the one whose files are in `tokenizer.huggingface.*`.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        gguf::build(metadata)
    }

    /// Reads a Hugging Face `tokenizer.json`, or the one in the directory `path`; boundary tokens come from the files
    /// beside it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        hugging_face::read(path.as_ref())
    }

    /// Builds the tokenizer of the texts of a `tokenizer.json` and a `tokenizer_config.json`.
    pub fn from_json(text: &str, config: &str) -> Result<Self> {
        hugging_face::parse(text, config)
    }

    /// What a GGUF file says of the tokenizer in the file or the directory `path`: [`from_gguf`](Self::from_gguf) of it is
    /// [`from_file`](Self::from_file).
    pub fn metadata_of_file(path: impl AsRef<Path>) -> Result<Metadata> {
        hugging_face::metadata(path.as_ref())
    }

    /// What a GGUF file says of the tokenizer of the texts of a `tokenizer.json` and a `tokenizer_config.json`.
    pub fn metadata_of_json(text: &str, config: &str) -> Metadata {
        hugging_face::metadata_of(text, config)
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, options: Encode) -> Result<Vec<u32>> {
        let auto = options.add_bos == AddBos::Auto;
        let mut ids = Vec::new();
        if options.add_bos == AddBos::Always || (auto && self.boundaries.add_bos) {
            ids.push(self.boundaries.bos.ok_or(TokenizerError::NoBos)?);
        }
        if let Model::HuggingFace(model) = &self.model {
            model.encode(text, options.parse_special, &mut ids)?;
        } else {
            self.encode_fragments(text, options.parse_special, &mut ids)?;
        }
        if auto && self.boundaries.add_eos {
            ids.extend(self.boundaries.eos);
        }
        Ok(ids)
    }

    /// Encodes what lies between special tokens.
    fn encode_fragments(&self, text: &str, parse_special: bool, ids: &mut Vec<u32>) -> Result<()> {
        let (Model::ByteLevel(_, special) | Model::Scored(_, special) | Model::WordPiece(_, special)) = &self.model
        else {
            return Ok(());
        };
        let mut after_special = true;
        for fragment in special.split(text, parse_special) {
            match (fragment, &self.model) {
                (Fragment::Token(id), _) => ids.push(id),
                (Fragment::Text(text), Model::ByteLevel(model, _)) => model.encode(text, ids)?,
                (Fragment::Text(text), Model::WordPiece(model, _)) => model.encode(text, ids)?,
                (Fragment::Text(text), Model::Scored(model, _)) => {
                    model.encode(&self.vocabulary, text, after_special, ids);
                }
                (Fragment::Text(_), Model::HuggingFace(_)) => {}
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        Ok(())
    }

    /// The text of `ids`, with U+FFFD for bytes that are not UTF-8 and for ids that are no tokens. A space that
    /// encoding put before the text is taken off. With `skip_special`, control and unknown tokens are left out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            self.push_bytes(id, skip_special, &mut bytes);
        }
        let prefixed = self.boundaries.space_prefix && bytes.first() == Some(&b' ');
        String::from_utf8_lossy(&bytes[usize::from(prefixed)..]).into_owned()
    }

    /// Decodes token by token, for text that is still being generated.
    pub fn decoder(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    fn push_bytes(&self, id: u32, skip_special: bool, bytes: &mut Vec<u8>) {
        let special = matches!(self.token_kind(id), Some(TokenKind::Control | TokenKind::Unknown));
        if skip_special && special {
            return;
        }
        bytes.extend(self.token_bytes(id).unwrap_or_else(|| "\u{FFFD}".into()));
    }

    /// The bytes that token `id` stands for; `None` if there is no such token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.vocabulary.bytes(id)
    }

    /// The text of token `id` as the vocabulary spells it, such as `Ġthe`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocabulary.text(id)
    }

    /// What token `id` is for.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.vocabulary.text(id).and(self.vocabulary.kind(id))
    }

    /// The token that the vocabulary spells `text`.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.vocabulary.id(text)
    }

    /// The number of token ids: every id is below it. A model's embedding must have at least as many rows.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The beginning-of-sequence token.
    pub fn bos_id(&self) -> Option<u32> {
        self.boundaries.bos
    }

    /// The end-of-sequence token.
    pub fn eos_id(&self) -> Option<u32> {
        self.boundaries.eos
    }

    /// Whether [`AddBos::Auto`] adds a beginning-of-sequence token.
    pub fn adds_bos(&self) -> bool {
        self.boundaries.add_bos
    }

    /// Whether [`AddBos::Auto`] adds an end-of-sequence token.
    pub fn adds_eos(&self) -> bool {
        self.boundaries.add_eos
    }

    /// The tokens that end an answer: end of sequence, of turn, of message; ascending.
    pub fn end_of_generation_ids(&self) -> &[u32] {
        &self.end_of_generation
    }

    /// Whether token `id` ends an answer.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.binary_search(&id).is_ok()
    }

    /// The control tokens: id and text.
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        let tokens = self.vocabulary.iter().filter(|(_, _, kind)| *kind == TokenKind::Control);
        tokens.map(|(id, text, _)| (id, text))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("boundaries", &self.boundaries)
            .field("end_of_generation", &self.end_of_generation)
            .finish_non_exhaustive()
    }
}

/// The tokens that end an answer: those named in the metadata, and those whose text says so.
fn end_of_generation(vocabulary: &Vocabulary, named: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let marker = |id: &u32| matches!(vocabulary.kind(*id), Some(TokenKind::Control | TokenKind::UserDefined));
    let by_text = END_OF_GENERATION.iter().filter_map(|text| vocabulary.id(text)).filter(marker);
    let named: Vec<u32> = named.into_iter().collect();
    let mut ids: Vec<u32> = named.iter().copied().chain(by_text).collect();
    // In the Harmony format `<|end|>` ends a message of an answer that goes on; `<|return|>` and `<|call|>` end the
    // answer.
    if let (Some(end), Some(_), Some(_)) =
        (vocabulary.id("<|end|>"), vocabulary.id("<|return|>"), vocabulary.id("<|call|>"))
    {
        ids.retain(|id| *id != end || named.contains(id));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

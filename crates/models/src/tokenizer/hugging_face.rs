//! A tokenizer from a Hugging Face `tokenizer.json`, run by the library that defines the format.
//!
//! `tokenizer_config.json` beside it names the boundary tokens and `generation_config.json` further tokens that end an
//! answer; both may be missing. Padding and truncation that the file asks for are switched off: whoever runs the model
//! decides on lengths.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::Tokenizer as Library;

use crate::gguf::Metadata;

use super::error::TokenizerError;
use super::vocabulary::{Spelling, TokenKind, Vocabulary, byte_of};
use super::{Boundaries, Model, Result, Tokenizer, end_of_generation};

/// The key of a GGUF file for the text of `tokenizer.json`.
pub(super) const JSON: &str = "tokenizer.huggingface.json";
/// The same for the files beside it, which the format has no names for.
const CONFIG: &str = "tokenizer.huggingface.config";
const GENERATION: &str = "tokenizer.huggingface.generation_config";

/// The library's tokenizer.
pub(super) struct HuggingFace {
    library: Library,
    /// The same with control tokens as text like any other, made when first needed.
    plain: OnceLock<Box<Library>>,
}

impl HuggingFace {
    /// Appends the ids of `text` without boundary tokens.
    pub(super) fn encode(&self, text: &str, parse_special: bool, ids: &mut Vec<u32>) -> Result<()> {
        let library = if parse_special { &self.library } else { self.plain() };
        let encoding = library.encode_fast(text, false).map_err(TokenizerError::library)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    fn plain(&self) -> &Library {
        self.plain.get_or_init(|| {
            let mut plain = self.library.clone();
            plain.set_encode_special_tokens(true);
            Box::new(plain)
        })
    }
}

/// Reads `path`, or `tokenizer.json` in it.
pub(super) fn read(path: &Path) -> Result<Tokenizer> {
    let file = file_of(path);
    let metadata = metadata(path)?;
    from_gguf(&metadata).map_err(|error| match error {
        TokenizerError::Json(reason) => TokenizerError::File { path: file, reason },
        other => other,
    })
}

fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() }
}

/// The texts of `path`, or of `tokenizer.json` in it, and of the files beside it, as metadata of a GGUF file.
pub(super) fn metadata(path: &Path) -> Result<Metadata> {
    let file = file_of(path);
    let folder = file.parent().unwrap_or(Path::new("."));
    let text = |path: &Path| {
        let failed = |reason: String| TokenizerError::File { path: path.into(), reason };
        std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
    };
    let mut metadata: Metadata = [(JSON, text(&file)?)].into_iter().collect();
    for (key, name) in [(CONFIG, "tokenizer_config.json"), (GENERATION, "generation_config.json")] {
        let beside = folder.join(name);
        if beside.exists() {
            let text = text(&beside)?;
            json(&text).map_err(|reason| TokenizerError::File { path: beside, reason })?;
            metadata.insert(key, text);
        }
    }
    Ok(metadata)
}

fn json(text: &str) -> std::result::Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The tokenizer whose files are in the metadata of a GGUF file.
pub(super) fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
    let beside = |key: &str| match metadata.optional_string(key)? {
        Some(text) => json(text).map_err(TokenizerError::Json),
        None => Ok(Value::Null),
    };
    build(metadata.string(JSON)?.as_bytes(), &beside(CONFIG)?, &beside(GENERATION)?)
}

/// The texts of a `tokenizer.json` and a `tokenizer_config.json` as metadata of a GGUF file.
pub(super) fn metadata_of(text: &str, config: &str) -> Metadata {
    [(JSON, text), (CONFIG, config)].into_iter().collect()
}

/// The tokenizer of the texts of a `tokenizer.json` and a `tokenizer_config.json`.
pub(super) fn parse(text: &str, config: &str) -> Result<Tokenizer> {
    from_gguf(&metadata_of(text, config))
}

fn build(text: &[u8], config: &Value, generation: &Value) -> Result<Tokenizer> {
    let wrong = |reason: String| TokenizerError::Json(reason);
    let description: Value = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    let mut library = Library::from_bytes(text).map_err(|error| wrong(error.to_string()))?;
    library.with_padding(None);
    library.with_truncation(None).map_err(|error| wrong(error.to_string()))?;

    let vocabulary = vocabulary(&library, spelling(&description))?;
    let (boundaries, named) = boundaries(config, generation, &library, &vocabulary)?;
    let end_of_generation = end_of_generation(&vocabulary, named);
    let model = Model::HuggingFace(Box::new(HuggingFace { library, plain: OnceLock::new() }));
    Ok(Tokenizer { model, vocabulary, boundaries, end_of_generation })
}

/// How the tokens spell bytes, by the steps that the file names.
fn spelling(description: &Value) -> Spelling {
    let mentions = |section: &str, step: &str| {
        description.get(section).is_some_and(|value| value.to_string().contains(&format!("\"type\":\"{step}\"")))
    };
    if mentions("decoder", "ByteLevel") || mentions("pre_tokenizer", "ByteLevel") {
        Spelling::ByteLevel
    } else if mentions("model", "WordPiece") {
        Spelling::WordPiece
    } else {
        Spelling::SentencePiece
    }
}

/// The library's vocabulary in the order of the ids.
fn vocabulary(library: &Library, spelling: Spelling) -> Result<Vocabulary> {
    let tokens = library.get_vocab(true);
    let added = library.get_added_tokens_decoder();
    let size = tokens.values().max().map_or(0, |&id| id as usize + 1);
    // A file may give a token any id: the list below must not be longer than the tokens justify.
    if size > 2 * tokens.len() + 4096 {
        let reason = format!("the highest token id is {}, but there are only {} tokens", size - 1, tokens.len());
        return Err(TokenizerError::Library(reason));
    }
    let mut texts = vec![None; size];
    let mut kinds = vec![TokenKind::Unused; size];
    for (text, id) in tokens {
        kinds[id as usize] = match added.get(&id) {
            Some(token) if token.special => TokenKind::Control,
            Some(_) => TokenKind::UserDefined,
            None if spelling == Spelling::SentencePiece && byte_of(&text).is_some() => TokenKind::Byte,
            None => TokenKind::Normal,
        };
        texts[id as usize] = Some(text);
    }
    Vocabulary::new(texts, kinds, spelling)
}

/// The boundary tokens, and the tokens that the files say end an answer.
fn boundaries(
    config: &Value,
    generation: &Value,
    library: &Library,
    vocabulary: &Vocabulary,
) -> Result<(Boundaries, Vec<u32>)> {
    let named = |key: &str| {
        let token = config.get(key)?;
        vocabulary.id(token.as_str().or_else(|| token.get("content")?.as_str())?)
    };
    // What the file adds around a text is seen on a text: its rules are the library's.
    let framed = library.encode_fast("a", true).map_err(TokenizerError::library)?;
    let bare = library.encode_fast("a", false).map_err(TokenizerError::library)?;
    let first = framed.get_ids().first().copied().filter(|id| bare.get_ids().first() != Some(id));
    let last = framed.get_ids().last().copied().filter(|id| bare.get_ids().last() != Some(id));
    let boundaries = Boundaries {
        bos: first.or_else(|| named("bos_token")),
        eos: last.or_else(|| named("eos_token")),
        add_bos: first.is_some(),
        add_eos: last.is_some(),
        space_prefix: begins_with_space(vocabulary, bare.get_ids()),
    };
    let ends = generation.get("eos_token_id").cloned().unwrap_or_default();
    let ends = ends.as_array().cloned().unwrap_or_else(|| vec![ends]);
    let ends = ends.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok());
    let ends = ends.filter(|&id| vocabulary.text(id).is_some());
    Ok((boundaries, ends.chain(named("eos_token")).chain(last).collect()))
}

/// Whether encoding put a space before a text that has none.
fn begins_with_space(vocabulary: &Vocabulary, ids: &[u32]) -> bool {
    ids.first().and_then(|&id| vocabulary.bytes(id)).is_some_and(|bytes| bytes.starts_with(b" "))
}

//! A model together with its tokenizer and chat template: text in, text out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use headwise_kernels::profile;
use headwise_models::chat::{ChatTemplate, ChatTemplateError, Message};
use headwise_models::decoder::{Decoder, LoadError, Weights};
use headwise_models::embedded;
use headwise_models::gguf::Gguf;
use headwise_models::tokenizer::{Encode, TokenKind, Tokenizer, TokenizerError};

use crate::experts::ExpertPolicy;
use crate::{Engine, EngineError, Generation};

/// Tokens of a lesson from which experts are learnt.
const LESSON: usize = 4096;

/// Why a model cannot read or write text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The model could not be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer is unusable.
    #[error("{path}: {source}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokenizerError,
    },
    /// A tokenizer's own file cannot be read, or a text could not be encoded.
    #[error(transparent)]
    Encode(#[from] TokenizerError),
    /// The tokenizer belongs to another model.
    #[error("the tokenizer has {tokens} tokens, the model {vocabulary}: they do not belong together")]
    WrongTokenizer {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// The chat template failed, or there is none.
    #[error(transparent)]
    Template(#[from] ChatTemplateError),
    /// A retriever does not fit the model.
    #[error("{0}")]
    Retriever(String),
}

/// A model with its tokenizer and, where it has one, its chat template.
pub struct TextModel {
    /// The model.
    pub engine: Engine,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template; base models have none.
    pub template: Option<ChatTemplate>,
    /// The name of the file or directory.
    pub name: String,
}

impl TextModel {
    /// Opens a GGUF file, or a directory (`config.json` as of Hugging Face or `headwise.toml`, safetensors files, `tokenizer.json`).
    pub fn open(path: &Path, weights: Weights, threads: usize) -> Result<Self, TextError> {
        Self::open_with_template(path, weights, threads, None)
    }

    /// The same with the chat template `source`, if there is one, in the place of the model's own, which is not looked at then.
    pub fn open_with_template(
        path: &Path,
        weights: Weights,
        threads: usize,
        source: Option<&str>,
    ) -> Result<Self, TextError> {
        let mut model = match path.is_dir() {
            true => Self::open_directory(path, weights, threads, source)?,
            false => Self::open_gguf(path, weights, threads, source)?,
        };
        model.engine = model.engine.with_files(path);
        Ok(model)
    }

    /// Opens a directory whose model's experts stay in their file, where `policy` brings them from; every load takes `delay` longer than
    /// it does. `lesson` is a text that shows a policy which experts to foresee.
    pub fn open_with_experts(
        path: &Path,
        weights: Weights,
        threads: usize,
        policy: &ExpertPolicy,
        delay: Duration,
        lesson: &str,
    ) -> Result<Self, TextError> {
        let engine = Engine::open_with_experts(path, weights, threads, policy, delay)?;
        let model = Self::around(engine, path, None)?;
        let ids = model.encode(lesson)?;
        model.engine.learn_routes(&ids[..ids.len().min(LESSON)])?;
        Ok(model)
    }

    /// The model that comes with the program.
    pub fn embedded(weights: Weights, threads: usize) -> Result<Self, TextError> {
        let model = embedded::decoder(weights, &Device::flex()).map_err(EngineError::from)?;
        Self::new(Engine::new(model, threads)?, embedded::tokenizer()?, None, Some(OsStr::new(embedded::NAME)))
    }

    fn open_gguf(path: &Path, weights: Weights, threads: usize, source: Option<&str>) -> Result<Self, TextError> {
        let gguf = Gguf::open(path).map_err(|error| EngineError::Load(LoadError::from(error)))?;
        let wrong = |source| TextError::Tokenizer { path: path.into(), source };
        let tokenizer = Tokenizer::from_gguf(gguf.metadata()).map_err(wrong)?;
        let template = match source {
            Some(source) => Some(ChatTemplate::for_tokenizer(source, &tokenizer)?),
            None if gguf.metadata().contains("tokenizer.chat_template") => {
                Some(ChatTemplate::from_gguf(gguf.metadata(), &tokenizer)?)
            }
            None => None,
        };
        let model = Decoder::from_gguf(&gguf, weights, &Device::flex()).map_err(EngineError::from)?;
        Self::new(Engine::new(model, threads)?, tokenizer, template, path.file_stem())
    }

    fn open_directory(path: &Path, weights: Weights, threads: usize, source: Option<&str>) -> Result<Self, TextError> {
        // The model first: what is wrong with a directory that is none is said best by its reader.
        let model = Decoder::open(path, weights, &Device::flex()).map_err(EngineError::from)?;
        Self::around(Engine::new(model, threads)?, path, source)
    }

    /// The model of `engine` with what else is in its directory.
    fn around(engine: Engine, path: &Path, source: Option<&str>) -> Result<Self, TextError> {
        // The error names the file itself.
        let tokenizer = Tokenizer::from_file(path)?;
        let template = match source.map(|source| ChatTemplate::for_tokenizer(source, &tokenizer)) {
            Some(template) => Some(template?),
            None => match ChatTemplate::from_directory(path, &tokenizer) {
                Err(ChatTemplateError::Missing { .. }) => None,
                template => Some(template?),
            },
        };
        Self::new(engine, tokenizer, template, path.file_name())
    }

    fn new(
        mut engine: Engine,
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        name: Option<&OsStr>,
    ) -> Result<Self, TextError> {
        let (tokens, vocabulary) = (tokenizer.vocab_size(), engine.spec().vocabulary);
        // Control tokens beyond the embedding are of no harm: Gemma's tokenizer has one for images, which text models
        // share, and the engine refuses a text that uses it.
        let word = |id| matches!(tokenizer.token_kind(id), Some(TokenKind::Normal | TokenKind::Byte));
        if (vocabulary..tokens).any(|id| word(id as u32)) {
            return Err(TextError::WrongTokenizer { tokens, vocabulary });
        }
        let name = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if let Some(id) = tokenizer.bos_id().filter(|&id| tokenizer.adds_bos() && (id as usize) < vocabulary) {
            engine = engine.with_first_token(id);
        }
        Ok(Self { engine, tokenizer, template, name })
    }

    /// How far to write: at most `tokens` tokens, up to one that ends a text of this model.
    pub fn generation(&self, tokens: usize) -> Generation {
        Generation { tokens, stop: self.tokenizer.end_of_generation_ids().to_vec() }
    }

    /// The tokens of a plain text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let _span = profile::span("tokenisation");
        Ok(self.tokenizer.encode(text, Encode::TEXT)?)
    }

    /// The tokens of a user's turn, ready for the answer that begins with `answer_start`. Without a chat template, the
    /// text itself.
    pub fn encode_turn(&self, user: &str, answer_start: &str) -> Result<Vec<u32>, TextError> {
        match &self.template {
            Some(template) => {
                let _span = profile::span("tokenisation");
                let text = template.render_continuation(&[Message::user(user)], answer_start)?;
                Ok(self.tokenizer.encode(&text, Encode::TEMPLATE)?)
            }
            None => self.encode(&format!("{user}{answer_start}")),
        }
    }
}

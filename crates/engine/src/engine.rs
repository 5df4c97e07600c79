//! A model ready to run, with the threads it runs on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use headwise_kernels::kv::{Codec, PAGE};
use headwise_models::adapter::AdapterError;
use headwise_models::decoder::{Decoder, DecoderSpec, LoadError, ModelFamily, Weights};
use headwise_models::gguf::Gguf;
use headwise_nn::block::BlockSpec;
use headwise_spec::Family;

use crate::cache::{CachePolicy, KnownHeads, PolicyError, StoreShape, WholeHeads};
use crate::constrain::ConstraintError;
use crate::experts::{ExpertsError, Offload};
use crate::heads::{Fading, HeadScores, fades};
use crate::kvcomm::KvCommError;
use crate::pine::SegmentsError;
use crate::{NamedAdapter, Sequence};

/// Why the engine cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The policy does not fit the model.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A text longer than the context.
    #[error(
        "{tokens} tokens do not fit the context of {context}: shorten the text by {} tokens, or raise --ctx (the model was trained on {trained})",
        tokens - context
    )]
    ContextOverflow {
        /// Tokens the text would have.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
        /// The model's own context.
        trained: usize,
    },
    /// A text that goes on beyond the positions that the model has learned.
    #[error(
        "{tokens} tokens do not fit the {positions} positions that the model has learned: shorten the text by {} tokens",
        tokens - positions
    )]
    Positions {
        /// Tokens the text would have.
        tokens: usize,
        /// Positions learned.
        positions: usize,
    },
    /// Nothing to read.
    #[error("the prompt is empty: it must have at least one token")]
    EmptyPrompt,
    /// A token the model does not have.
    #[error(
        "token {id} is not in the model's vocabulary of {vocabulary}: was the text encoded with another tokenizer?"
    )]
    UnknownToken {
        /// The token.
        id: u32,
        /// Tokens known.
        vocabulary: usize,
    },
    /// A model that sees later tokens.
    #[error(
        "the model is an encoder, which sees both sides of every token: the engine writes and reads text from left to right, with decoders"
    )]
    Encoder,
    /// A layer whose state cannot be taken back.
    #[error(
        "layer {layer}, `{mixer}`, keeps a state that moves on from token to token: tokens cannot be taken back, as this way of writing does"
    )]
    NoRollback {
        /// The layer.
        layer: usize,
        /// Its mixer.
        mixer: &'static str,
    },
    /// A context or a vocabulary in which random tokens cannot be repeated.
    #[error(
        "a context of {context} tokens and a vocabulary of {vocabulary} leave no room to look for retrieval heads: a context \
         of {least} tokens and a vocabulary of 4 are needed"
    )]
    NoRoomForHeads {
        /// Tokens that a text may have.
        context: usize,
        /// Tokens that are needed.
        least: usize,
        /// Tokens the model knows.
        vocabulary: usize,
    },
    /// A model that attends to whole texts nowhere.
    #[error("no layer attends to the whole text, so there is no such attention to look at")]
    NoWholeLayer,
    /// A model that has not learned to fill gaps.
    #[error(
        "the model has no sentinels, so it cannot say what belongs into a gap: take one that `headwise train` has trained with the objective \
         `span_corruption`, or write without `sap`"
    )]
    NoSentinels,
    /// Parameters of a way to write.
    #[error("{0}")]
    Decoding(String),
    /// Keys and values of shared texts cannot be estimated.
    #[error(transparent)]
    KvComm(#[from] KvCommError),
    /// Segments cannot be read as a set.
    #[error(transparent)]
    Segments(#[from] SegmentsError),
    /// A text cannot be held to its form.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Experts cannot be left in their file.
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// An adapter cannot be used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A policy that asks the model without the adapter of the text.
    #[error(
        "`{policy}` is not for texts with a LoRA adapter: {because}; take `full`, `snapkv` or another policy that looks at the text alone"
    )]
    AdaptedPolicy {
        /// The policy.
        policy: String,
        /// What it does.
        because: &'static str,
    },
    /// Something that is done with the model's own weights.
    #[error(
        "{what} a text with a LoRA adapter: it would be that of the model without the adapter; leave one of the two out"
    )]
    Adapted {
        /// What was asked for.
        what: &'static str,
    },
    /// Threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// Why.
        reason: String,
    },
}

/// A model ready to run.
#[derive(Debug)]
pub struct Engine {
    pub(crate) model: Decoder,
    pub(crate) device: Device,
    pub(crate) threads: Arc<rayon::ThreadPool>,
    context: usize,
    /// What the model was loaded from.
    pub(crate) files: Option<PathBuf>,
    /// The token that stands first in every text.
    pub(crate) first_token: u32,
    /// Once they have been asked for.
    pub(crate) heads: OnceLock<HeadScores>,
    /// What share of needles every layer picks, if that is known, once it has been looked up.
    pub(crate) picks: OnceLock<Option<Vec<Option<f64>>>>,
    /// How fast the scores of every query head with ALiBi fall, `[layers][heads]`, once it has been asked for.
    pub(crate) fading: OnceLock<Vec<Vec<Fading>>>,
    /// Query heads that give nothing, `[layer, head]`.
    pub(crate) masked: Vec<[usize; 2]>,
    /// Adapters that texts can be given by name.
    pub(crate) adapters: Vec<NamedAdapter>,
    /// What brings the experts of mixtures, if they stay in their file.
    pub(crate) experts: Option<Arc<Offload>>,
}

impl Engine {
    /// An engine for `model` on `threads` threads (0: all processors).
    pub fn new(model: Decoder, threads: usize) -> Result<Self, EngineError> {
        if model.spec().family == ModelFamily::Encoder {
            return Err(EngineError::Encoder);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| EngineError::Threads { threads, reason: error.to_string() })?;
        let context = model.spec().context;
        Ok(Self {
            model,
            device: Device::flex(),
            threads: Arc::new(pool),
            context,
            files: None,
            first_token: 0,
            heads: OnceLock::new(),
            picks: OnceLock::new(),
            fading: OnceLock::new(),
            masked: Vec::new(),
            adapters: Vec::new(),
            experts: None,
        })
    }

    /// Loads a GGUF file.
    pub fn from_gguf(path: &Path, weights: Weights, threads: usize) -> Result<Self, EngineError> {
        let gguf = Gguf::open(path).map_err(LoadError::from)?;
        Ok(Self::new(Decoder::from_gguf(&gguf, weights, &Device::flex())?, threads)?.with_files(path))
    }

    /// Says what the model was loaded from, a file or a directory: what is measured once per model is kept under its contents.
    pub fn with_files(mut self, path: &Path) -> Self {
        self.files = Some(path.into());
        self
    }

    /// Says which token stands first in every text; token 0 otherwise.
    pub fn with_first_token(mut self, id: u32) -> Self {
        self.first_token = id;
        self
    }

    /// Silences the query heads `masked`, each `[layer, head]`: their output is zero. Shows what a head is needed for.
    pub fn with_masked_heads(mut self, masked: &[[usize; 2]]) -> Self {
        self.masked = masked.to_vec();
        self
    }

    /// Sets how many tokens a text may have; the model's own context otherwise.
    pub fn with_context(mut self, context: usize) -> Self {
        self.context = context;
        self
    }

    /// How many tokens a text may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The most tokens that a text can have: the context, or the positions that the model has learned if they are fewer.
    pub fn most_tokens(&self) -> usize {
        self.spec().positions().map_or(self.context, |positions| positions.min(self.context))
    }

    /// Whether `ids` can follow `before` tokens of a text.
    pub fn check_text(&self, before: usize, ids: &[u32]) -> Result<(), EngineError> {
        let DecoderSpec { vocabulary, context: trained, .. } = *self.spec();
        let (tokens, context) = (before + ids.len(), self.context);
        if ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(EngineError::UnknownToken { id, vocabulary });
        }
        match self.spec().positions() {
            Some(positions) if tokens > positions => Err(EngineError::Positions { tokens, positions }),
            _ if tokens > context => Err(EngineError::ContextOverflow { tokens, context, trained }),
            _ => Ok(()),
        }
    }

    /// Bytes of the pages and positions of `tokens` tokens in half precision when nothing is let go but by the model's own windows, and of
    /// the states of its mixers.
    pub fn uncompressed_bytes(&self, tokens: usize) -> usize {
        let layer = |layer: &BlockSpec| {
            let StoreShape { kv_heads, head_dim, window, .. } = StoreShape::of(layer, self.spec().dim);
            let held = window.map_or(tokens, |window| window.min(tokens));
            let pages = held.div_ceil(PAGE) * PAGE * Codec::F16.pair_bytes(head_dim, head_dim);
            kv_heads * (pages + held * size_of::<i32>()) + layer.mixer.state(self.spec().dim).bytes()
        };
        self.spec().layers.iter().map(layer).sum()
    }

    /// What the model is.
    pub fn spec(&self) -> &DecoderSpec {
        self.model.spec()
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        &self.model
    }

    /// The last layer that attends to the whole text.
    pub(crate) fn last_whole_layer(&self) -> Result<usize, EngineError> {
        let whole = |layer: &BlockSpec| StoreShape::of(layer, self.spec().dim).sees_everything();
        self.spec().layers.iter().rposition(whole).ok_or(EngineError::NoWholeLayer)
    }

    /// Checks that tokens can be taken back under `policy`, so that the text is as if they had never been read.
    pub(crate) fn check_rollback(&self, policy: &CachePolicy) -> Result<(), EngineError> {
        policy.check_rollback()?;
        match layer_with_state(self.spec()) {
            Some((layer, mixer)) => Err(EngineError::NoRollback { layer, mixer }),
            None => Ok(()),
        }
    }

    /// Checks that a layer attends, to the whole text or in a window.
    pub(crate) fn check_attends(&self) -> Result<(), EngineError> {
        let attends = self.spec().layers.iter().any(|layer| layer.mixer.softmax().is_some());
        if attends { Ok(()) } else { Err(EngineError::NoWholeLayer) }
    }

    /// A new text under `policy`. The first under one that has to know the model's heads takes the time of
    /// [`Engine::head_scores`].
    pub fn sequence(&self, policy: &CachePolicy) -> Result<Sequence, EngineError> {
        policy.check(self.context)?;
        policy.check_pairs(self.spec())?;
        let mut whole = match policy.whole_heads() {
            None => Vec::new(),
            // How far heads with ALiBi see is known without a run.
            Some(WholeHeads::Detected) if self.spec().layers.iter().all(fades) => Vec::new(),
            Some(WholeHeads::Detected) => {
                let mut found = self.head_scores()?.retrieval();
                found.retain(|[layer, _]| !fades(&self.spec().layers[*layer]));
                found
            }
            Some(WholeHeads::Given(heads)) => heads,
        };
        whole.sort_unstable();
        whole.dedup();
        policy.check_model(self.spec(), &whole)?;
        let entropies = if policy.needs_entropies() { self.head_scores()?.entropies() } else { Vec::new() };
        let scopes = policy.scope().map_or_else(Vec::new, |scope| self.scopes(scope));
        Ok(Sequence::new(self.spec(), policy, &KnownHeads { whole, entropies, scopes }))
    }
}

/// The first layer of `model` that keeps more of a text than keys and values, and its mixer.
pub(crate) fn layer_with_state(model: &DecoderSpec) -> Option<(usize, &'static str)> {
    let layer = model.layers.iter().position(|layer| !layer.mixer.state(model.dim).is_empty())?;
    Some((layer, model.layers[layer].mixer.name()))
}

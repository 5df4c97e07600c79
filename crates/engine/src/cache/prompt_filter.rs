//! What chooses the tokens of a prompt that are read at all.

use std::fmt::Debug;

use headwise_kernels::kv::Codec;

use super::Limits;
use crate::{Engine, EngineError};

/// Reads a prompt in a cheaper way and chooses the tokens that are then read in full, as if the prompt had only them.
///
/// Only the first prompt of a text is filtered, as a whole: what follows is about it.
pub trait PromptFilter: Debug + Send + Sync {
    /// How much may be kept, checked.
    fn limits(&self) -> Result<Limits, String>;

    /// Chooses among the tokens `ids`; pairs are stored as `codec`.
    fn choose(&self, engine: &Engine, ids: &[u32], codec: Codec) -> Result<Chosen, EngineError>;
}

/// The tokens that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Their places in the prompt, ascending.
    pub tokens: Vec<usize>,
    /// The most memory that choosing took, in bytes of pairs.
    pub peak_bytes: usize,
}

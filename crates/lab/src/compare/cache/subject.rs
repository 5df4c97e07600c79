//! The model under comparison: a language model with its tokenizer, or the hand-built induction model.

use burn::tensor::Device;
use headwise_engine::{Engine, EngineError, TextError, TextModel};
use headwise_models::decoder::{Induction, Weights};
use headwise_models::tokenizer::{AddBos, Encode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a comparison on the induction model says of itself.
pub const TOY_NOTE: &str = "These rows are of the hand-built induction model, not of a language model: two layers whose weights are written down so that \
exactly one slot of one key-value head holds each answer. They show exactly what a policy keeps, and say nothing about the quality of a trained model.";

/// The induction model's name in rows.
const TOY_NAME: &str = "induction (hand-built)";

/// The model under comparison.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A language model.
    Text(&'a TextModel),
    /// The induction model in an engine; see [`toy_engine`].
    Toy(&'a Engine),
}

/// The induction model on `threads` threads (0: all processors).
pub fn toy_engine(threads: usize) -> Result<Engine, EngineError> {
    Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex())?, threads)
}

impl<'a> Subject<'a> {
    /// The engine that runs it.
    pub fn engine(&self) -> &'a Engine {
        match self {
            Self::Text(model) => &model.engine,
            Self::Toy(engine) => engine,
        }
    }

    /// Its name in rows.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Text(model) => &model.name,
            Self::Toy(_) => TOY_NAME,
        }
    }

    /// The token that stands first in every text, if there is one.
    pub(super) fn bos(&self) -> Option<u32> {
        match self {
            Self::Text(model) => model.tokenizer.bos_id().filter(|_| model.tokenizer.adds_bos()),
            Self::Toy(_) => Some(Induction::START),
        }
    }

    /// At least `least` tokens of running text if `prose` has them, without the token that stands first. The induction
    /// model reads random tokens.
    pub(super) fn running_text(&self, prose: &str, least: usize, seed: u64) -> Result<Vec<u32>, TextError> {
        match self {
            Self::Text(model) => {
                let plain = Encode { add_bos: AddBos::Never, parse_special: false };
                Ok(model.tokenizer.encode(prose, plain)?)
            }
            Self::Toy(_) => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                Ok((0..least).map(|_| rng.random_range(Induction::TOKENS)).collect())
            }
        }
    }

    /// Tokens that end an answer.
    pub(super) fn stop(&self) -> &'a [u32] {
        match self {
            Self::Text(model) => model.tokenizer.end_of_generation_ids(),
            Self::Toy(_) => &[],
        }
    }
}

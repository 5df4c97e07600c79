//! Language-model inference on CPU with a choice of key-value cache policies.
//!
//! An [`Engine`] runs a model over [`Chunk`]s of many [`Sequence`]s at once; each sequence has its own stores, policy and
//! position. [`cache`] has the policies, [`heads`] finds the heads that copy from far back.

pub mod cache;
mod engine;
mod forward;
mod generate;
mod generate_all;
pub mod heads;
mod neighbours;
mod prepack;
pub mod retrieve;
mod sample;
mod sequence;
mod shared;
mod stages;
mod text;

pub use engine::{Engine, EngineError};
pub use forward::{Chunk, Logits, Wanted};
pub use generate::{Generated, Generation, generate};
pub use generate_all::{Writing, generate_all};
pub use prepack::{Prompt, best_fit};
pub use sample::Sampler;
pub use sequence::Sequence;
pub use shared::{ReadPrompt, SharedPrefill};
pub use text::{TextError, TextModel};

//! Language-model inference on CPU with a choice of key-value cache policies.
//!
//! An [`Engine`] runs a model over [`Chunk`]s of many [`Sequence`]s at once; each sequence has its own stores, policy and
//! position. [`cache`] has the policies, [`heads`] finds the heads that copy from far back, [`constrain`] holds a text to a form,
//! [`confidence`] says how sure an answer is, [`kvcomm`] estimates keys and values of shared texts, [`pine`] reads segments whose order does
//! not matter, [`experts`] holds as many experts of a mixture as fit.

mod adapter;
mod attention_rows;
pub mod cache;
pub mod confidence;
pub mod constrain;
mod cosine;
mod decode;
mod embed;
mod engine;
mod exit;
pub mod experts;
mod forward;
mod generate;
mod generate_all;
pub mod heads;
pub mod kvcomm;
mod neighbours;
pub mod pine;
mod prepack;
mod probe;
pub mod retrieve;
mod sample;
pub mod scales;
pub mod schedule;
mod sequence;
mod session;
mod shared;
mod stages;
mod stop;
mod text;
mod threads;

pub use adapter::{Adapter, NamedAdapter};
pub use decode::{
    BeamSearch, Candidate, Decoding, Example, Filled, FillsGaps, GapFiller, GapQuestion, Hypothesis, Likelihood,
    LogProbability, Opera, OperaAnswers, PromptLookup, Sap, SapAnswer, SapAnswers, SapCost, SapEnd, SapTask,
    TokenLogProbabilities, beam_search,
};
pub use embed::Pooling;
pub use engine::{Engine, EngineError};
pub use exit::{EarlyExit, ExitRule, ExitedText};
pub use forward::{Chunk, Logits, Wanted};
pub use generate::{Generated, Generation, NewToken, generate, generate_with};
pub use generate_all::{Writing, generate_all, generate_several};
pub use prepack::{Prompt, best_fit};
pub use sample::{Breakers, Dry, Mirostat, Sampler, Sampling, SamplingError, TokenTexts, Xtc};
pub use sequence::Sequence;
pub use session::{Session, SessionError};
pub use shared::{ReadPrompt, SharedPrefill};
pub use stop::StopTexts;
pub use text::{TextError, TextModel};

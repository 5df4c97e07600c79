//! Ways to write beside one token after the other: beams, with a penalty or without, and drafts copied from the text.

mod beam;
mod log_probabilities;
mod lookup;
mod opera;

pub use beam::{BeamSearch, Hypothesis, beam_search};
pub use log_probabilities::{LogProbability, TokenLogProbabilities};
pub use lookup::PromptLookup;
pub use opera::{Decoding, Opera, OperaAnswers};

pub(crate) use log_probabilities::{likeliest, log_sum_exp};

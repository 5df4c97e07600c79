//! OPERA: beam search that punishes leaning on a token of the answer itself, and goes back when all beams do.
//!
//! Models that make things up attend to a token that sums up what they wrote more than to what they were shown. Every beam tries its
//! `candidates` likeliest tokens in one forward. The row of a candidate in the last layer, `a_i` `[tokens]`, is the largest weight over
//! heads, scaled to sum 1. Over the tokens of the answer, `c_j = 1e-7 · Π_{i ≥ j} (scale · a_ij)` grows where column `j` is attended to
//! again and again; `φ = max_j c_j`, and a candidate counts `log p − alpha · φ`. For the first `first` tokens `φ` is minus the weight on
//! the evidence. When the largest column of all beams has stood at one place more than `repeats` times, the answers go back to the token
//! after it and take another. Huang et al. 2024, arXiv:2311.17911.
//!
//! The paper scores candidates by a softmax over them alone; here `p` is the model's own, so that without penalty this is beam search.

mod over_trust;
mod retrospection;
mod search;

use std::ops::Range;

pub(crate) use self::search::OperaSearch;
use super::beam::Hypothesis;
use crate::cache::{CachePolicy, Needs};
use crate::{Engine, EngineError, Generation};

headwise_spec::method! {
    /// Beam search that punishes leaning on a token of the answer itself, and goes back when all beams do.
    ///
    /// For answers about something shown, where a model drifts into what it made up itself. Every token costs `candidates` forwards for
    /// each beam. Huang et al. 2024, arXiv:2311.17911.
    pub struct Opera {
        /// Beginnings that are written on together.
        pub beams: usize = 5,
        /// Tokens that each of them tries; how often a place may be tried again.
        pub candidates: usize = 5,
        /// Weight of the penalty.
        pub alpha: f64 = 1.0,
        /// What attention is multiplied by before it is multiplied up.
        pub scale: f64 = 50.0,
        /// First tokens of an answer, for which attention to the evidence counts instead.
        pub first: usize = 10,
        /// Times the largest column may stand at one place before all answers go back.
        pub repeats: usize = 15,
        /// Last tokens among which they are counted.
        pub window: usize = 512,
        /// Exponent of the length that the scores of answers are divided by.
        pub length_penalty: f64 = 1.0,
    }
}

/// What OPERA found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperaAnswers {
    /// The answers, the best first; their scores have the penalties in them.
    pub answers: Vec<Hypothesis>,
    /// How often they went back.
    pub rollbacks: usize,
    /// Tokens that were tried.
    pub tried: usize,
}

impl Opera {
    /// Reads `prompt`, of which `evidence` is what answers should look at, and searches for answers under `policy`, which must be able
    /// to take tokens back. `progress` is told how long the answers are.
    pub fn search(
        &self,
        engine: &Engine,
        policy: &CachePolicy,
        prompt: &[u32],
        evidence: Range<usize>,
        generation: &Generation,
        mut progress: impl FnMut(usize),
    ) -> Result<OperaAnswers, EngineError> {
        self.check()?;
        policy.check_rollback()?;
        let mut read = engine.sequence(&self.policy(policy))?;
        let logits = engine.prefill(&mut read, prompt, |_| {})?;
        let mut search = OperaSearch::new(engine, self.clone(), read, logits, evidence, generation.clone())?;
        while search.step(engine)? {
            progress(search.length());
        }
        Ok(search.finish())
    }

    /// `policy` as prompts are read under it: the last query is looked at.
    pub(crate) fn policy(&self, policy: &CachePolicy) -> CachePolicy {
        policy.also_gathering(Needs { query_window: 1, ..Needs::default() })
    }

    /// Checks the parameters.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let refused = |reason: &str| Err(EngineError::Decoding(format!("`opera`: {reason}")));
        let number = |value: f64| value.is_finite() && value >= 0.0;
        match () {
            () if self.beams == 0 => refused("beams must be at least 1"),
            () if self.candidates == 0 => refused("candidates must be at least 1"),
            () if self.window == 0 => refused("window must be at least 1"),
            () if !number(self.alpha) => refused(&format!("alpha={} must be at least 0", self.alpha)),
            () if !number(self.scale) || self.scale == 0.0 => refused(&format!("scale={} must be above 0", self.scale)),
            () if !self.length_penalty.is_finite() => refused("length_penalty must be a number"),
            () => Ok(()),
        }
    }
}

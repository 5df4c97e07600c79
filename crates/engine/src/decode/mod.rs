//! Ways to write beside one token after the other: beams, with a penalty or without, drafts copied from the text, and gaps that are filled.

mod beam;
mod log_probabilities;
mod lookup;
mod opera;
mod sap;

pub use beam::{BeamSearch, Hypothesis, beam_search};
pub use log_probabilities::{LogProbability, TokenLogProbabilities};
pub use lookup::PromptLookup;
pub(crate) use opera::OperaSearch;
pub use opera::{Opera, OperaAnswers};
pub use sap::{
    Candidate, Example, Filled, FillsGaps, GapFiller, GapQuestion, Likelihood, Sap, SapAnswer, SapAnswers, SapCost,
    SapEnd, SapTask,
};

headwise_spec::family! {
    /// A way to write beside one token after the other.
    pub enum Decoding: "decoding" {
        opera => Opera,
        sap => Sap,
    }
}

pub(crate) use log_probabilities::{likeliest, log_sum_exp};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Decoding>();
    }
}

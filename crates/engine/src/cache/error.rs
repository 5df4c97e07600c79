//! Why a cache policy is refused.

/// Why a chain of methods is no cache policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text cannot be read.
    #[error("{}", .0.render())]
    Spec(headwise_spec::Error),
    /// A parameter is out of range.
    #[error("{0}")]
    Parameter(String),
    /// Two methods claim the same place.
    #[error("`{first}` and `{second}` are both storage codecs: a cache takes one")]
    TwoCodecs {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// Two methods choose the tokens of a prompt.
    #[error("`{first}` and `{second}` both choose the tokens of a prompt: a cache takes one")]
    TwoFilters {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// Two methods choose what is read.
    #[error("`{first}` and `{second}` both choose what a query reads: a cache takes one such method")]
    TwoSelectors {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// Two methods count positions anew.
    #[error("`{evicting}` and `{reading}` both count the positions of keys anew: give one of them `reindex=false`")]
    TwoPositions {
        /// The evicting method.
        evicting: String,
        /// The method that chooses what is read.
        reading: String,
    },
    /// `full` beside a policy that evicts.
    #[error("`full` keeps every pair and `{other}` does not: name one of them")]
    FullAndEvicting {
        /// The other method.
        other: String,
    },
    /// Two divisions of one budget.
    #[error("`{first}` and `{second}` both divide a budget over heads: it is divided once")]
    TwoDivisions {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A division without a budget.
    #[error(
        "`{division}` divides the budget of an evicting policy and there is none: write for example \
         `{division} + snapkv(keep=0.25)`"
    )]
    NothingToDivide {
        /// The division.
        division: String,
    },
    /// A budget that scores cannot divide.
    #[error("`{division}` cannot divide the budget of `{policy}`: {reason}")]
    Undividable {
        /// The division.
        division: String,
        /// The evicting policy.
        policy: String,
        /// Why.
        reason: &'static str,
    },
    /// Two plans of stages.
    #[error("`uncomp_stages` stands twice: a prompt is read in stages once")]
    TwoStages,
    /// Two calibrations.
    #[error("`act` stands twice: attention is moved once")]
    TwoCalibrations,
    /// A method beside which attention cannot be moved.
    #[error("`act` cannot stand beside `{other}`, which {reason}")]
    Uncalibrated {
        /// The other method.
        other: String,
        /// What it does.
        reason: &'static str,
    },
    /// Two policies that keep different heads whole.
    #[error("`{first}` and `{second}` keep different heads whole: name the same ones")]
    TwoPartitions {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A head that the model does not have, or that evicts nothing.
    #[error("heads=[[{layer}, {head}]]: {reason}")]
    NoSuchHead {
        /// The layer asked for.
        layer: usize,
        /// The head asked for.
        head: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A slot for dropped pairs where scores depend on distance.
    #[error(
        "layer {layer} has ALiBi, whose scores fall with the distance of each key: `{policy}` puts one key in the place of \
         many, so it runs models with rotary positions or none"
    )]
    Alibi {
        /// The layer.
        layer: usize,
        /// The whole policy.
        policy: String,
    },
    /// A model without keys and values.
    #[error("no layer of the model keeps keys and values, so `{policy}` has nothing to act on: use `full`")]
    NoPairs {
        /// The whole policy.
        policy: String,
    },
    /// Tokens left out of a layer that goes from one to the next.
    #[error(
        "layer {layer}, `{mixer}`, keeps a state that moves on from token to token, and `uncomp_stages` leaves tokens out of deeper \
         layers: use it on models without such layers"
    )]
    StagesOfStates {
        /// The layer.
        layer: usize,
        /// Its mixer.
        mixer: &'static str,
    },
    /// A budget that nothing can reach.
    #[error(
        "budget={budget} is above the context of {context} tokens: nothing would ever be evicted; use `full`, or a budget \
         below {context}"
    )]
    AboveContext {
        /// Pairs asked for.
        budget: usize,
        /// Tokens that can be held.
        context: usize,
    },
    /// Tokens cannot be taken back.
    #[error(
        "`{policy}` cannot take tokens back, as this way of writing does: {reason}; use `full`, or one of the codecs `f32`, \
         `bf16`, `int8` and `int4`"
    )]
    NoRollback {
        /// The whole policy.
        policy: String,
        /// Why.
        reason: &'static str,
    },
}

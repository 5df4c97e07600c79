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
    #[error("`adakv` stands twice: a budget is divided over heads once")]
    TwoDivisions,
    /// A division without a budget.
    #[error(
        "`adakv` divides the budget of an evicting policy and there is none: write for example `adakv + snapkv(keep=0.25)`"
    )]
    NothingToDivide,
    /// A budget that scores cannot divide.
    #[error("`adakv` cannot divide the budget of `{policy}`: {reason}")]
    Undividable {
        /// The evicting policy.
        policy: String,
        /// Why.
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
        /// The key-value head asked for.
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

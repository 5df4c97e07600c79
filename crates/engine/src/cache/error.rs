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
}

//! Why the experts of a model cannot be left in its file.

/// Why the experts of a model cannot be left in its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertsError {
    /// A model without mixtures of experts.
    #[error(
        "`{model}` has no experts that could stay in its file: `--experts` is for a folder with a headwise.toml and layers with \
         `moe(…)` channel mixers; leave it out"
    )]
    Dense {
        /// The model.
        model: String,
    },
    /// A share that is none.
    #[error(
        "`{policy}`: capacity={capacity} must be above 0 and at most 1, the share of all experts that is held in memory"
    )]
    Capacity {
        /// The policy.
        policy: String,
        /// The share asked for.
        capacity: f64,
    },
    /// A capacity below one expert.
    #[error("`{policy}`: capacity={capacity} is {bytes} bytes, and an expert takes {least}: give at least {share:.4}")]
    NoRoom {
        /// The policy.
        policy: String,
        /// The share asked for.
        capacity: f64,
        /// Bytes that it is.
        bytes: usize,
        /// Bytes of the largest expert.
        least: usize,
        /// The share that holds one.
        share: f64,
    },
    /// A probability that is none.
    #[error("`{policy}`: cut={cut} must be above 0 and below 1, the probability from which on an expert is expected")]
    Cut {
        /// The policy.
        policy: String,
        /// The value given.
        cut: f64,
    },
    /// Layers that share their weights.
    #[error(
        "layers of this model share their weights (shared_by = {shared_by}): an expert that several layers use is held for good, so leave \
         `--experts` out"
    )]
    Shared {
        /// How many share theirs.
        shared_by: usize,
    },
    /// Threads could not be started.
    #[error("cannot start the threads that load experts: {reason}")]
    Threads {
        /// Why.
        reason: String,
    },
}

//! What can be wrong with a comparison of policies of scales; all of it is found before anything runs, except a run that diverges.

use headwise_engine::scales::ScalePolicyError;
use headwise_models::next_scale::NextScaleError;
use headwise_train::next_scale::NextScaleTrainError;

/// Why policies of scales cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScalesError {
    /// A policy that cannot be read.
    #[error("--cache {cache}: {}", source.render())]
    Cache {
        /// The text.
        cache: String,
        /// Why.
        source: headwise_spec::Error,
    },
    /// A policy that cannot run.
    #[error("--cache {cache}: {source}")]
    Policy {
        /// The text.
        cache: String,
        /// Why.
        source: ScalePolicyError,
    },
    /// A share that is none.
    #[error("--keep {0}: it must be above 0 and at most 1")]
    Keep(f64),
    /// Scales that the generator cannot have.
    #[error("--scales: {0}")]
    Scales(NextScaleError),
    /// An option is zero.
    #[error("{option} is 0; it must be at least 1")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// The generator did not learn.
    #[error(transparent)]
    Train(#[from] NextScaleTrainError),
    /// The generator cannot draw.
    #[error(transparent)]
    Draw(#[from] NextScaleError),
}

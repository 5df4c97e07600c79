//! What can be wrong when a component is applied.

use std::path::PathBuf;

use headwise_models::safetensors::{CheckpointError, Dtype};

/// Why a component could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// The spec cannot be read.
    #[error("{0}")]
    Spec(#[from] headwise_spec::Error),
    /// No component has this name.
    #[error("unknown component `{name}`: the components are {}", valid.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        valid: Vec<&'static str>,
    },
    /// A parameter of the spec that does not fit.
    #[error("{0}")]
    Parameter(String),
    /// A cache method without a score.
    #[error("`{name}` gives no score: only evicting policies do, such as {}", scoring.join(", "))]
    NoScore {
        /// The method.
        name: &'static str,
        /// The methods with a score.
        scoring: Vec<&'static str>,
    },
    /// Gradients of something without.
    #[error("`{name}` has no gradients: a score only ranks tokens; leave out --grad")]
    NoGradient {
        /// The method.
        name: &'static str,
    },
    /// A file of tensors that cannot be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A tensor that has to be there.
    #[error("{}: tensor `{name}` is missing: it should be {wanted}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type and shape.
        wanted: String,
    },
    /// A tensor that nothing asks for.
    #[error("{}: unknown tensor `{name}`: valid are {}", path.display(), list(valid))]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The names that are known.
        valid: Vec<String>,
    },
    /// Elements of another type.
    #[error("tensor `{name}` is {found}: it should be {wanted}")]
    WrongType {
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
        /// The right ones.
        wanted: &'static str,
    },
    /// Another shape.
    #[error("tensor `{name}` has the shape {found:?}: it should be {wanted}")]
    WrongShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The right one, with the lengths that are known by then.
        wanted: String,
    },
    /// Lengths that do not go together.
    #[error("{0}")]
    Lengths(String),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

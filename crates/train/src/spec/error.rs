//! Why a file describes no training run.

/// Why a file describes no training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key that is not known.
    #[error("{path}: {reason}")]
    Toml {
        /// The file.
        path: String,
        /// Why, with the line.
        reason: String,
    },
    /// A value that makes no sense.
    #[error("`{key}`: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// The message of an unknown key with the known key that is spelt most like it.
pub(super) fn with_nearest(message: &str) -> String {
    let parts: Vec<&str> = message.split('`').collect();
    let [before, unknown, rest @ ..] = parts.as_slice() else { return message.to_owned() };
    if !before.ends_with("unknown field ") {
        return message.to_owned();
    }
    let known = rest.iter().skip(1).step_by(2);
    let nearest = known.max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)));
    match nearest.filter(|nearest| strsim::jaro(nearest, unknown) > 0.6) {
        Some(nearest) => format!("{}; did you mean `{nearest}`?", message.trim_end()),
        None => message.to_owned(),
    }
}

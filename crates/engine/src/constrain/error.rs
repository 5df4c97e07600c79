//! Why a text cannot be held to a form.

use std::time::Duration;

/// Why a text cannot be held to a form.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// The tokens of the model cannot be put into a tree.
    #[error("the model's tokens cannot be constrained: {0}")]
    Vocabulary(String),
    /// More text than is taken.
    #[error("the {what} has {bytes} bytes: at most {most} are taken")]
    TooLong {
        /// What kind of form it is.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// The form cannot be followed.
    #[error("the {what} cannot be followed: {reason}")]
    Invalid {
        /// What kind of form it is.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The form is too complicated.
    #[error("the {what} is too complicated: it could not be prepared within {} ms", limit.as_millis())]
    Time {
        /// What kind of form it is.
        what: &'static str,
        /// The time there was.
        limit: Duration,
    },
    /// Others were being prepared all the time.
    #[error("{running} other forms are being prepared: try again later")]
    Busy {
        /// How many.
        running: usize,
    },
    /// A token that does not belong here.
    #[error("token {id} does not fit the form at this place")]
    Forbidden {
        /// The token.
        id: u32,
    },
    /// The form turned out too complicated while the text was written.
    #[error("the text cannot be held to its form any further: {0}")]
    Running(String),
}

/// What is said to people of an error of the library, on one line: its first line, and what it points at.
pub(super) fn first_line(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default();
    if line.starts_with("panic: ") {
        return "it is beyond what the compiler of forms can do".into();
    }
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(what) => format!("{line} {what}"),
        None => line.into(),
    }
}

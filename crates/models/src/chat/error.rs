//! Why a conversation could not be rendered.

use std::path::PathBuf;

use crate::gguf::MetadataError;

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatTemplateError {
    /// The model has no template: it was not trained to chat.
    #[error("this model has no chat template ({looked_for}): it completes text but was not trained to chat")]
    Missing {
        /// Where one was expected.
        looked_for: String,
    },
    /// The metadata value is of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A file of a Hugging Face directory cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The template is not valid Jinja.
    #[error("the chat template is not valid: {0}")]
    Syntax(String),
    /// The template refused this conversation.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// There is nothing to render.
    #[error("a conversation needs at least one message")]
    NoMessages,
}

//! A prompt with texts that stand apart in it, as tokens.

use std::sync::Arc;

use headwise_engine::TextModel;
use headwise_engine::kvcomm::Parts;
use headwise_engine::pine::SegmentedText;

use super::ApiError;
use super::message::Taken;

/// What stands apart in a prompt, if anything does.
#[derive(Clone, Debug, Default)]
pub enum Placed {
    /// Nothing.
    #[default]
    Nothing,
    /// Texts that other prompts share.
    Shared(Arc<Parts>),
    /// Segments whose order does not matter.
    Segments(Arc<SegmentedText>),
}

impl Placed {
    /// What was `taken` out of `prompt`, which a template has written or, if `raw`, which is as it is. The field `param` of a request has it.
    pub fn of(taken: &Taken, prompt: &str, raw: bool, model: &TextModel, param: &str) -> Result<Self, ApiError> {
        Ok(match () {
            () if !taken.shared.is_empty() => Self::Shared(taken.shared.parts(prompt, raw, model, param)?),
            () if !taken.segments.is_empty() => Self::Segments(taken.segments.text(prompt, raw, model, param)?),
            () => Self::Nothing,
        })
    }

    /// The tokens of the whole prompt, unless nothing stands apart.
    pub fn ids(&self) -> Option<Vec<u32>> {
        match self {
            Self::Nothing => None,
            Self::Shared(parts) => Some(parts.ids()),
            Self::Segments(text) => Some(text.ids()),
        }
    }
}

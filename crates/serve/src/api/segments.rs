//! Segments of a prompt whose order does not matter (PINE): documents, options to judge.
//!
//! They stand one after another; the rendered prompt is cut at the [mark](super::marks) in their place.

use std::sync::Arc;

use headwise_engine::TextModel;
use headwise_engine::pine::SegmentedText;

use super::ApiError;
use super::marks::Mark;

/// Segments that were taken out of a prompt.
#[derive(Debug)]
pub struct Segments {
    mark: Mark,
    texts: Vec<String>,
    /// Whether other text has followed them.
    closed: bool,
}

impl Segments {
    /// None yet; `mark` is to stand for all of them.
    pub fn new(mark: Mark) -> Self {
        Self { mark, texts: Vec::new(), closed: false }
    }

    /// Takes `text` out, which stands at `place` of a request, and writes what stands for it to `before`, the text that comes before it.
    pub fn take(&mut self, text: &str, place: &str, before: &mut String) -> Result<(), ApiError> {
        if self.closed {
            let message = "segments stand one after another: a prompt has one set of them, with no other text in it";
            return Err(ApiError::parameter(place, message));
        }
        if text.is_empty() {
            return Err(ApiError::parameter(place, "a segment is empty: each must have some text"));
        }
        if self.texts.is_empty() {
            // Segments are lines of their own.
            if !before.is_empty() && !before.ends_with('\n') {
                before.push('\n');
            }
            before.push(self.mark);
        }
        self.texts.push(text.to_owned());
        Ok(())
    }

    /// Takes note that other text follows.
    pub fn close(&mut self) {
        self.closed = !self.texts.is_empty();
    }

    /// Whether nothing was taken out.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The prompt that a template has made of the conversation or, if `raw`, that is as it is, as tokens. The field `param` of a request has
    /// it.
    pub fn text(
        &self,
        prompt: &str,
        raw: bool,
        model: &TextModel,
        param: &str,
    ) -> Result<Arc<SegmentedText>, ApiError> {
        let wrong = |message: &str| ApiError::parameter(param, message);
        let cut = prompt.split_once(self.mark).filter(|(_, after)| !after.contains(self.mark));
        let (before, after) = cut.ok_or_else(|| {
            wrong("the model's chat template does not write the segments once and in their place: leave `segment` out")
        })?;
        let text = model.encode_around(before, &self.texts, after, raw)?;
        if text.suffix.is_empty() {
            return Err(wrong(
                "nothing stands after the segments: say what is to be done with them, since the answer follows that",
            ));
        }
        Ok(Arc::new(text))
    }
}

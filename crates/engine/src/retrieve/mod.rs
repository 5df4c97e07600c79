//! Finding what a question is about in a text that is longer than a model can read.

mod frame;
mod infini_retri;
mod parts;
mod sentences;

pub use infini_retri::{By, InfiniRetri};
pub use sentences::sentences;

use crate::{TextError, TextModel};

headwise_spec::family! {
    /// What finds the sentences of a long text that a question is about.
    pub enum Retriever: "retriever" {
        infini_retri => InfiniRetri,
    }
}

/// What is asked about a text.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The question, which stands after the text.
    pub question: &'a str,
    /// How the answer begins.
    pub answer_start: &'a str,
}

/// What has been found.
#[derive(Clone, Debug, Default)]
pub struct Retrieved {
    /// Sentences of the text, in their order.
    pub text: String,
    /// The tokens of a prompt with these sentences and the question, ready for the answer.
    pub prompt: Vec<u32>,
    /// Tokens of the whole text.
    pub tokens: usize,
    /// Parts that the text was read in.
    pub parts: usize,
    /// The most memory that keys and values took, in bytes; of all questions together, if several shared the reading.
    pub peak_bytes: usize,
}

impl Retriever {
    /// What of `text` the question is about; `progress` is told how many parts of how many have been read.
    pub fn retrieve(
        &self,
        model: &TextModel,
        text: &str,
        question: Question<'_>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Retrieved, TextError> {
        Ok(self.retrieve_all(model, text, &[question], progress)?.pop().unwrap_or_default())
    }

    /// What of `text` each of `questions` is about, in their order, from one reading that all of them share.
    ///
    /// A question by itself gets what [`Retriever::retrieve`] gives. Among others it also sees what they have kept, and the window is theirs
    /// together: parameters that fit one question may not fit many. `progress` is told how many parts of how many have been read.
    pub fn retrieve_all(
        &self,
        model: &TextModel,
        text: &str,
        questions: &[Question<'_>],
        progress: impl FnMut(usize, usize),
    ) -> Result<Vec<Retrieved>, TextError> {
        match self {
            Self::InfiniRetri(method) => method.retrieve(model, text, questions, progress),
        }
    }
}

//! SAP: a model that fills gaps writes long answers, a few words at a time.
//!
//! A model that learned from hidden runs of about three tokens answers a gap at the end of a text with a few words, whatever should
//! stand there. So the text is shown with a gap at its end, the first `commit` words of what the model says are taken over, and the gap
//! moves behind them, until the model says nothing, ends the line, or the answer is as long as it may be. With `w` words that takes
//! `⌈(w + 1) / commit⌉` calls. Patel et al. 2022, arXiv:2209.14500, for models with an encoder, which reads the whole text anew for
//! every call; a decoder reads only what is new.
//!
//! [`Sap::answer`] prompts with examples, makes examples of questions without answers first, and chooses among several answers; see
//! `examples`.

mod examples;
mod filler;
mod gaps;
mod words;

pub use examples::{Candidate, Example, SapAnswers, SapTask};
pub use filler::{GapFiller, GapQuestion};
pub use gaps::{Filled, FillsGaps, Likelihood};

use self::words::Borders;
use crate::EngineError;

headwise_spec::method! {
    /// A model that fills gaps writes long answers: of each filling only the first words count, then the gap moves behind them.
    ///
    /// For models that learned with span corruption, which end a filling after a few words. Patel et al. 2022, arXiv:2209.14500.
    pub struct Sap {
        /// Words of every filling that count.
        pub commit: usize = 1,
        /// Most words of an answer; none takes twice those of the question, or of a prompt without examples as many as tokens may be written.
        pub words: Option<usize> = None,
        /// Most tokens of a filling; a longer word is written in several.
        pub span: usize = 16,
        /// Characters that end a word beside white space.
        pub separators: String = String::new(),
        /// The text that ends an answer, and stands after questions and answers.
        pub stop: String = "\n".into(),
        /// What stands before all examples.
        pub instruction: String = String::new(),
        /// What stands before a question.
        pub source: String = "Input:".into(),
        /// What stands before an answer.
        pub target: String = "Output:".into(),
        /// Most examples that a prompt shows.
        pub demonstrations: usize = 8,
        /// Prompts with other examples each, whose answers are compared; fewer if there are fewer examples.
        pub members: usize = 4,
    }
}

/// What was written, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SapAnswer {
    /// The answer, with the white space that divides it from the prompt.
    pub text: String,
    /// Its words.
    pub words: usize,
    /// Why it ends there.
    pub end: SapEnd,
    /// What it took.
    pub cost: SapCost,
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SapEnd {
    /// The model said nothing more, or ended it.
    #[default]
    Said,
    /// It has as many words as it may have.
    Length,
    /// The model can read no longer text.
    Full,
}

/// What writing took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SapCost {
    /// How often the model was asked.
    pub calls: usize,
    /// Tokens that it was shown in all calls: what an encoder would have to read.
    pub shown: usize,
    /// Tokens that had to be read.
    pub read: usize,
    /// Tokens that were written, whether they count or not.
    pub written: usize,
}

impl SapCost {
    /// Adds what other answers took.
    pub(super) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.shown += other.shown;
        self.read += other.read;
        self.written += other.written;
    }
}

/// Calls after which a word is taken for one that never ends.
const CALLS_OF_A_WORD: usize = 4;

impl Sap {
    /// Writes on after `prompt`, at most `most` words. `said` is told every piece that is taken over.
    pub fn write<F: FillsGaps>(
        &self,
        filler: &mut F,
        prompt: &str,
        most: usize,
        mut said: impl FnMut(&str),
    ) -> Result<SapAnswer, F::Error> {
        let borders = self.borders();
        let (mut text, mut answer) = (prompt.to_owned(), SapAnswer::default());
        answer.end = loop {
            // A word may take several calls, but none takes many.
            let wanted = self.commit.min(most.saturating_sub(answer.words));
            if wanted == 0 || answer.cost.calls >= most.saturating_mul(CALLS_OF_A_WORD) {
                break SapEnd::Length;
            }
            let filled = filler.fill(&text, &mut |said| borders.cut(said, wanted).complete)?;
            let Some(Filled { text: filling, shown, read, written }) = filled else { break SapEnd::Full };
            answer.cost.add(SapCost { calls: 1, shown, read, written });
            let cut = borders.cut(&filling, wanted);
            text.push_str(cut.text);
            answer.words = borders.count(&text[prompt.len()..]);
            said(cut.text);
            if cut.stopped || cut.words == 0 {
                break SapEnd::Said;
            }
        };
        answer.text = text.split_off(prompt.len());
        Ok(answer)
    }

    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), EngineError> {
        let least = [
            ("commit", self.commit),
            ("words", self.words.unwrap_or(1)),
            ("span", self.span),
            ("demonstrations", self.demonstrations),
            ("members", self.members),
        ];
        match least.into_iter().find(|&(_, value)| value == 0) {
            Some((name, _)) => Err(EngineError::Decoding(format!("`sap`: {name} must be at least 1"))),
            None => Ok(()),
        }
    }

    fn borders(&self) -> Borders<'_> {
        Borders { separators: &self.separators, stop: &self.stop }
    }
}

#[cfg(test)]
mod tests;

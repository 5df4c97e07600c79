//! Text that has to follow a form: JSON, a JSON schema, one of several choices, a regular expression, a grammar.
//!
//! A [`ConstraintFactory`] knows the tokens of a model and turns a [`ConstraintSpec`] into a [`Constraint`], which follows one text: before
//! every token it forbids those that no text of the form could go on with, and is told which one was chosen. Lexer and parser
//! are those of the crate `llguidance`: derivatives of regular expressions, and Earley's parser, run over a tree of the tokens' bytes.
//!
//! Forms come from anybody. They are checked for what is known to explode (`schema`), compiled within a limit of time and of size
//! (`factory`), and what goes wrong later ends one text with an error.

mod before;
mod cache;
mod error;
mod factory;
mod schema;
mod spec;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::fmt;
use std::sync::Arc;

use headwise_kernels::scores;
use llguidance::Matcher;

use before::Before;
pub use error::ConstraintError;
pub use factory::{ConstraintFactory, ConstraintLimits};
pub use spec::ConstraintSpec;

/// One text that follows a form, from its first token on. A clone goes its own way.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    /// The tokens that end a text, ascending.
    ends: Arc<[u32]>,
    /// The bytes of every token.
    words: Arc<[Vec<u8>]>,
    /// What is written before the form begins, until it does.
    before: Option<Before>,
}

impl Constraint {
    /// The same form, which begins after the text `tag`: what comes before is free, but does not end. For models that reason first, as between
    /// `<think>` and `</think>`.
    pub fn after(self, tag: &str) -> Self {
        let before = (!tag.is_empty()).then(|| Before::new(tag, self.words.clone()));
        Self { before, ..self }
    }

    /// Sets the scores `[vocabulary]` of all tokens to −∞ that the text cannot go on with.
    ///
    /// At least one token stays possible: one that goes on, or where nothing may follow, one that ends the text. (A model without such a
    /// token is asked [`finished`](Self::finished) first.)
    ///
    /// # Errors
    /// If the form turns out too complicated; the text cannot go on then.
    pub fn mask(&mut self, scores: &mut [f32]) -> Result<(), ConstraintError> {
        if self.before.is_some() {
            for &id in self.ends.iter() {
                if let Some(score) = scores.get_mut(id as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
            return Ok(());
        }
        if self.matcher.is_stopped() && !self.matcher.is_error() {
            keep_only(&self.ends, scores);
            return Ok(());
        }
        let allowed = self.matcher.compute_mask().map_err(running)?;
        let (parts, words) = (scores.chunks_mut(32), allowed.as_slice());
        for (part, &word) in parts.zip(words.iter().chain(std::iter::repeat(&0))) {
            match word {
                u32::MAX => {}
                0 => part.fill(f32::NEG_INFINITY),
                _ => {
                    let forbidden = part.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    forbidden.for_each(|(_, score)| *score = f32::NEG_INFINITY);
                }
            }
        }
        if scores::largest(scores).is_none() {
            // The model itself forbids all that the form allows.
            let mut ids: Vec<u32> = allowed.iter().collect();
            ids.retain(|&id| (id as usize) < scores.len());
            keep_only(&ids, scores);
        }
        Ok(())
    }

    /// The text goes on with token `id`.
    ///
    /// # Errors
    /// If it cannot; the constraint is of no use then.
    pub fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        if let Some(before) = &mut self.before {
            if before.accept(id) {
                self.before = None;
            }
            return Ok(());
        }
        if self.matcher.is_stopped() && !self.matcher.is_error() {
            return if self.is_end(id) { Ok(()) } else { Err(ConstraintError::Forbidden { id }) };
        }
        match self.matcher.try_consume_tokens(&[id]).map_err(running)? {
            0 => Err(ConstraintError::Forbidden { id }),
            _ => Ok(()),
        }
    }

    /// Whether the text is complete and nothing may follow.
    pub fn finished(&self) -> bool {
        self.before.is_none() && self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Whether token `id` ends a text.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("finished", &self.finished()).finish_non_exhaustive()
    }
}

fn running(error: impl fmt::Display) -> ConstraintError {
    ConstraintError::Running(error::first_line(&error.to_string()))
}

/// Forbids all but `ids`; one of them stays possible, whatever the scores say.
fn keep_only(ids: &[u32], scores: &mut [f32]) {
    let kept: Vec<(usize, f32)> =
        ids.iter().filter_map(|&id| scores.get(id as usize).map(|&score| (id as usize, score))).collect();
    let possible = kept.iter().any(|(_, score)| *score > f32::NEG_INFINITY);
    scores.fill(f32::NEG_INFINITY);
    kept.into_iter().for_each(|(id, score)| scores[id] = if possible { score } else { 0.0 });
}

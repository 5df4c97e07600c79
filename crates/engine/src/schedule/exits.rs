//! Texts whose tokens leave the model [early](crate::EarlyExit).
//!
//! Which layers a token passes is its own matter, so each such token has a forward of its own beside the one of everyone else. Prompts pass all
//! layers and are read with the others.

use super::text::Text;
use super::{Event, Scheduler};
use crate::{EarlyExit, Engine, EngineError, Logits};

impl Text {
    /// How its next token leaves the model, if that may be before the last layer: prompts pass all of them.
    pub fn exit(&self) -> Option<&EarlyExit> {
        self.request.exit.as_ref().filter(|_| !self.reading())
    }

    /// Reads the next token, which leaves as `exit` says; returns the scores after it.
    fn step_exiting(&mut self, engine: &Engine, exit: &EarlyExit) -> Result<Logits, EngineError> {
        let id = self.next_ids(1)[0];
        let (scores, layers) = engine.step_exiting(&mut self.sequence, id, exit)?;
        self.passed = [self.passed[0] + 1, self.passed[1] + layers];
        Ok(scores)
    }

    /// Layers that a token has passed, in the mean, if tokens may leave early.
    pub fn mean_layers(&self) -> Option<f64> {
        let [forwards, layers] = self.passed;
        self.request.exit.as_ref().map(|_| layers as f64 / forwards.max(1) as f64)
    }

    /// Whether a token has left early, so that layers which it did not pass have other pairs of it.
    pub fn has_left(&self) -> bool {
        self.request.exit.is_some() && self.read > self.prompt.len()
    }
}

impl Scheduler<'_> {
    /// Runs the model for every text whose tokens leave it where they may, each alone; returns the scores of those.
    pub(super) fn step_alone(&mut self, rows: &[usize]) -> Vec<Option<Logits>> {
        let step = |(text, &rows): (&mut Text, &usize)| {
            let exit = text.exit().filter(|_| rows > 0)?.clone();
            self.counters.steps += 1;
            match text.step_exiting(self.engine, &exit) {
                Ok(scores) => Some(scores),
                Err(error) => {
                    text.request.listener.tell(Event::Failed(error.into()));
                    None
                }
            }
        };
        self.texts.iter_mut().zip(rows).map(step).collect()
    }
}

#[cfg(test)]
mod tests;

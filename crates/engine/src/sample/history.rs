//! What was read and written, as far as penalties look at it.

use std::collections::HashMap;

use super::Sampling;

/// Tokens of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// How often every token that occurs was written; 0 for one that was only read.
    seen: HashMap<u32, usize>,
    /// Tokens written.
    pub written: usize,
    /// All tokens in their order, if repetitions are looked for.
    pub tokens: Vec<u32>,
}

impl History {
    /// `ids` were read; what was written before counts as read from now on.
    pub fn read(&mut self, sampling: &Sampling, ids: &[u32]) {
        self.written = 0;
        if sampling.dry.is_some() {
            self.tokens.extend(ids);
        }
        if sampling.repetition_penalty == 1.0 {
            self.seen.clear();
            return;
        }
        self.seen.values_mut().for_each(|written| *written = 0);
        for &id in ids {
            self.seen.entry(id).or_default();
        }
    }

    /// `id` was written.
    pub fn write(&mut self, sampling: &Sampling, id: u32) {
        self.written += 1;
        if sampling.dry.is_some() {
            self.tokens.push(id);
        }
        if sampling.counts() {
            *self.seen.entry(id).or_default() += 1;
        }
    }

    /// The last `count` tokens will be read again.
    pub fn take_back(&mut self, count: usize) {
        self.tokens.truncate(self.tokens.len().saturating_sub(count));
    }

    /// Changes the scores of the tokens that occur, and of those that would go on with a repetition.
    pub fn penalise(&self, sampling: &Sampling, scores: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = *sampling;
        for (&id, &written) in &self.seen {
            let Some(score) = scores.get_mut(id as usize) else { continue };
            *score = if *score > 0.0 { *score / repetition_penalty } else { *score * repetition_penalty };
            if written > 0 {
                *score -= presence_penalty + frequency_penalty * written as f32;
            }
        }
        if let Some(dry) = &sampling.dry {
            dry.penalise(&self.tokens, scores);
        }
    }
}

impl Sampling {
    /// Whether scores depend on the tokens before.
    pub(super) fn penalises(&self) -> bool {
        self.counts() || self.dry.is_some()
    }

    /// Whether they depend on how often tokens came before.
    fn counts(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

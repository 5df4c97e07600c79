//! Choosing the next token from its scores.
//!
//! [`Sampling`] says how; a [`Sampler`] does it for one text, whose tokens it remembers as far as penalties need them. Nothing sorts the
//! vocabulary: one step chooses for many texts (`candidates`, `draw`).

mod breakers;
mod candidates;
mod draw;
mod dry;
mod history;
mod mirostat;
mod sampling;
#[cfg(test)]
mod tests;
mod xtc;

use headwise_kernels::profile;
use headwise_kernels::scores;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::constrain::{Constraint, ConstraintError};
pub use breakers::{Breakers, TokenTexts};
use candidates::Candidate;
pub use dry::Dry;
use history::History;
pub use mirostat::Mirostat;
pub use sampling::{Sampling, SamplingError};
pub use xtc::Xtc;

/// Chooses the tokens of one text.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    history: History,
    /// Tokens that end the text.
    ends: Vec<u32>,
    /// The form that the text follows.
    constraint: Option<Constraint>,
    /// The most surprise of the next token, in bits, under Mirostat.
    bound: f64,
    /// Used anew for every token.
    scores: Vec<f32>,
    candidates: Vec<Candidate>,
    sums: Vec<f32>,
}

impl Sampler {
    /// Always the largest score, the lowest id among equals.
    pub fn greedy() -> Self {
        Self::of(Sampling::default())
    }

    /// Draws from the `top_k` largest scores (0: all) that together hold `top_p` of the probability, at `temperature`.
    pub fn new(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Self {
        Self::of(Sampling { temperature, top_k, top_p, seed, ..Sampling::default() })
    }

    /// Chooses as `sampling` says, which [`Sampling::check`] has found good.
    pub fn of(sampling: Sampling) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
            bound: sampling.mirostat.as_ref().map_or(0.0, Mirostat::first_bound),
            sampling,
            history: History::default(),
            ends: Vec::new(),
            constraint: None,
            scores: Vec::new(),
            candidates: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Holds the text to a form, from the next token on.
    pub fn with_constraint(mut self, constraint: Constraint) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Lets the form, if there is one, begin after the text `tag`: see [`Constraint::after`].
    pub fn with_form_after(mut self, tag: &str) -> Self {
        self.constraint = self.constraint.map(|constraint| constraint.after(tag));
        self
    }

    /// The same for a text that is like this one was at its beginning, number `index` of several: it draws for itself.
    pub fn number(&self, index: u64) -> Self {
        let seed = self.sampling.seed.wrapping_add(index);
        let constraint = self.constraint.clone();
        Self { constraint, ..Self::of(Sampling { seed, ..self.sampling.clone() }) }
    }

    /// Holds the text to the form of `other` from the next token on, at the place where `other` is.
    pub fn follow_as(&mut self, other: &Self) {
        self.constraint.clone_from(&other.constraint);
    }

    /// How tokens are chosen.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The text goes on after the prompt `ids`; what was written before is a part of what was read from now on.
    pub fn read(&mut self, ids: &[u32]) {
        self.history.read(&self.sampling, ids);
    }

    /// The last `count` tokens that were chosen will be read again, at the beginning of what follows: they do not count twice.
    pub fn take_back(&mut self, count: usize) {
        self.history.take_back(count);
    }

    /// The tokens that end the text are `ids`: `min_tokens` holds them back.
    pub fn end_with(&mut self, ids: &[u32]) {
        ids.clone_into(&mut self.ends);
    }

    /// The next token for `logits` `[vocabulary]`, which counts as written; 0 if none of them is a number above −∞.
    ///
    /// # Errors
    /// If the text has a [constraint](Self::with_constraint) that fails; it cannot go on then.
    pub fn try_choose(&mut self, logits: &[f32]) -> Result<u32, ConstraintError> {
        let _span = profile::span("sampling");
        let id = match self.changes_scores() {
            false => self.pick(logits),
            true => {
                let mut scores = std::mem::take(&mut self.scores);
                logits.clone_into(&mut scores);
                self.change(&mut scores)?;
                let id = self.pick(&scores);
                self.scores = scores;
                id
            }
        };
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(id)?;
        }
        self.history.write(&self.sampling, id);
        Ok(id)
    }

    /// [`try_choose`](Self::try_choose) for a text without a constraint. One whose constraint fails goes on with a token that ends it.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        self.try_choose(logits).unwrap_or_else(|_| self.ends.first().copied().unwrap_or(0))
    }

    /// Whether the form that the text follows is complete, so that nothing may follow.
    pub fn finished(&self) -> bool {
        self.constraint.as_ref().is_some_and(Constraint::finished)
    }

    /// Whether token `id`, just chosen, ends the text: one of those that do, or any end if the text follows a form.
    pub fn ended_by(&self, id: u32) -> bool {
        self.ends.contains(&id) || self.constraint.as_ref().is_some_and(|constraint| constraint.is_end(id))
    }

    /// Whether anything is done to scores before a token is chosen.
    fn changes_scores(&self) -> bool {
        let Sampling { logit_bias, .. } = &self.sampling;
        self.sampling.penalises() || !logit_bias.is_empty() || self.constraint.is_some() || self.holds_back()
    }

    fn holds_back(&self) -> bool {
        self.history.written < self.sampling.min_tokens && !self.ends.is_empty()
    }

    fn change(&mut self, scores: &mut [f32]) -> Result<(), ConstraintError> {
        self.history.penalise(&self.sampling, scores);
        for &(id, bias) in &self.sampling.logit_bias {
            if let Some(score) = scores.get_mut(id as usize) {
                *score += bias;
            }
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(scores)?;
        }
        if self.holds_back() {
            hold_back(scores, &self.ends);
        }
        Ok(())
    }

    /// Chooses from what the changes have left.
    fn pick(&mut self, scores: &[f32]) -> u32 {
        let Sampling { temperature, xtc, mirostat, .. } = self.sampling;
        let Some(largest) = scores::largest(scores) else { return 0 };
        if temperature < Sampling::GREEDY {
            return largest as u32;
        }
        // One number for every token, however it is chosen.
        let share = self.rng.random::<f64>();
        let most = scores[largest];
        if most == f32::INFINITY {
            return largest as u32;
        }
        // And one more where XTC leaves tokens out now and then.
        let excludes = xtc.filter(|xtc| self.rng.random::<f64>() < f64::from(xtc.probability));
        let scale = 1.0 / temperature;
        if !self.sampling.cuts() && excludes.is_none() && mirostat.is_none() {
            return draw::from_all(scores, most, scale, share, &mut self.sums);
        }
        candidates::collect(&self.sampling, scores, most, &mut self.candidates);
        if let Some(xtc) = excludes {
            xtc.cut(&mut self.candidates);
        }
        if mirostat.is_some() {
            Mirostat::cut(&mut self.candidates, scale, self.bound);
        }
        let (id, p) = draw::from_candidates(&mut self.candidates, scale, share);
        if let Some(mirostat) = mirostat {
            self.bound = mirostat.next_bound(self.bound, p);
        }
        id
    }
}

/// Forbids the tokens `ends`, unless nothing else is allowed.
fn hold_back(scores: &mut [f32], ends: &[u32]) {
    let before: Vec<(usize, f32)> =
        ends.iter().filter_map(|&id| scores.get(id as usize).map(|&score| (id as usize, score))).collect();
    before.iter().for_each(|&(id, _)| scores[id] = f32::NEG_INFINITY);
    if scores::largest(scores).is_none() {
        before.iter().for_each(|&(id, score)| scores[id] = score);
    }
}

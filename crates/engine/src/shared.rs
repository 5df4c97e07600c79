//! One reading of a prompt for several policies.
//!
//! A policy that waits for the end of the prompt changes nothing before it, so all such policies with one storage codec
//! see the same prefill. [`SharedPrefill`] runs it once, gathering the statistics that any of them needs;
//! [`ReadPrompt::under`] then ends the prompt under one policy. The result equals a prefill under that policy alone, bit
//! for bit, its bytes and peak included: the chunks are those of [`Engine::prefill`].
//!
//! Prompts that begin alike share that beginning too: states are kept at chunk boundaries and reused as far as the next
//! prompt agrees with the last one.

use crate::cache::{CachePolicy, Stage};
use crate::forward::{PROMPT_CHUNK, places};
use crate::{Chunk, Engine, EngineError, Logits, Sequence, Wanted};

/// Reads prompts for several policies at once.
#[derive(Debug)]
pub struct SharedPrefill<'a> {
    engine: &'a Engine,
    /// The text of the states.
    ids: Vec<u32>,
    /// The state after every whole chunk of `ids`, and before the first.
    states: Vec<Sequence>,
}

impl<'a> SharedPrefill<'a> {
    /// A reader for `policies`; `None` if they cannot share: one of them evicts while it reads, or they store pairs
    /// differently.
    pub fn new(engine: &'a Engine, policies: &[&CachePolicy]) -> Option<Self> {
        let together = CachePolicy::together(policies)?;
        Some(Self { engine, ids: Vec::new(), states: vec![Sequence::new(engine.spec(), &together)] })
    }

    /// Reads `ids` as a whole prompt. `progress` is told how many tokens of it have been read.
    pub fn read(&mut self, ids: &[u32], mut progress: impl FnMut(usize)) -> Result<ReadPrompt<'a>, EngineError> {
        let alike = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        // The last chunk is always read, because its scores are wanted.
        let reused = alike.min(ids.len().saturating_sub(1)) / PROMPT_CHUNK;
        self.states.truncate(reused + 1);
        self.ids.truncate(reused * PROMPT_CHUNK);
        let mut state = self.states[reused].clone();
        self.engine.check(&state, &ids[self.ids.len()..])?;
        let mut before = state.clone();
        let mut logits = Logits::default();
        progress(self.ids.len());
        while self.ids.len() < ids.len() {
            let rest = &ids[self.ids.len()..];
            let part = &rest[..rest.len().min(PROMPT_CHUNK)];
            let wanted = if part.len() == rest.len() { Wanted::Last } else { Wanted::Nothing };
            before = state.clone();
            let chunk = Chunk { sequence: &mut state, ids: part, prompt_ends: false, wanted };
            logits = self.engine.forward(&mut [chunk])?.pop().unwrap_or_default();
            self.ids.extend(part);
            if part.len() == PROMPT_CHUNK {
                self.states.push(state.clone());
            }
            progress(self.ids.len());
        }
        Ok(ReadPrompt { engine: self.engine, before, whole: state, logits })
    }
}

/// A prompt that has been read, and not yet ended under any policy.
#[derive(Debug)]
pub struct ReadPrompt<'a> {
    engine: &'a Engine,
    /// Before the last chunk.
    before: Sequence,
    whole: Sequence,
    logits: Logits,
}

impl ReadPrompt<'_> {
    /// Tokens read.
    pub fn tokens(&self) -> usize {
        self.whole.tokens()
    }

    /// Scores after the last token; the same under every policy.
    pub fn logits(&self) -> &[f32] {
        self.logits.last()
    }

    /// The text with its prompt ended under `policy`, one of those it was read for.
    pub fn under(&self, policy: &CachePolicy) -> Sequence {
        let mut fork = Sequence::new(self.engine.spec(), policy);
        for (layer, read) in fork.layers.iter_mut().zip(&self.before.layers) {
            layer.adopt(read);
        }
        fork.note_peak();
        // As in a forward: a layer reads the last chunk, then the policy evicts from it, then comes the next layer.
        for (index, place) in places(self.engine.spec()).enumerate() {
            fork.layers[index].adopt(&self.whole.layers[index]);
            fork.note_peak();
            policy.hold(&mut fork.layers[index], place, self.whole.tokens, Stage::PromptEnd);
        }
        fork.tokens = self.whole.tokens;
        fork.prompt_ended = true;
        fork.note_peak();
        fork
    }
}

//! Writing many texts at once: their prompts share forwards, and so do their steps.

use crate::{Chunk, Engine, EngineError, Generation, Prompt, Sampler, Sequence, Wanted};

/// A text that is being written.
#[derive(Clone, Debug)]
pub struct Writing {
    sequence: Sequence,
    prompt: Vec<u32>,
    sampler: Sampler,
    written: Vec<u32>,
    stopped: bool,
}

impl Writing {
    /// A text that begins with `prompt`; `sequence` is empty.
    pub fn new(sequence: Sequence, prompt: Vec<u32>, sampler: Sampler) -> Self {
        Self { sequence, prompt, sampler, written: Vec::new(), stopped: false }
    }

    /// The tokens after the prompt, without the one that ended the text.
    pub fn written(&self) -> &[u32] {
        &self.written
    }

    /// Whether a stop token ended the text.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Chooses the next token; returns whether the text goes on with it.
    fn choose(&mut self, logits: &[f32], generation: &Generation, context: usize) -> bool {
        if self.written.len() >= generation.tokens {
            return false;
        }
        let id = self.sampler.choose(logits);
        self.stopped = generation.stop.contains(&id);
        if self.stopped {
            return false;
        }
        self.written.push(id);
        self.written.len() < generation.tokens && self.sequence.tokens() < context
    }
}

/// Reads the prompts of all `texts` and writes each on, as [`generate`](crate::generate) would alone.
///
/// A text that has ended leaves the others to themselves. `progress` is told how many tokens have been read and written.
pub fn generate_all(
    engine: &Engine,
    texts: &mut [Writing],
    generation: &Generation,
    mut progress: impl FnMut(usize),
) -> Result<(), EngineError> {
    let mut prompts: Vec<Prompt<'_>> =
        texts.iter_mut().map(|text| Prompt { sequence: &mut text.sequence, ids: &text.prompt }).collect();
    let mut done = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let mut logits = engine.prefill_all(&mut prompts, &mut progress)?;
    let mut going: Vec<usize> = (0..texts.len()).collect();
    loop {
        let mut scores = logits.iter();
        going.retain(|&index| {
            let scores = scores.next().map_or(&[][..], |logits| logits.last());
            texts[index].choose(scores, generation, engine.context())
        });
        if going.is_empty() {
            return Ok(());
        }
        let mut chunks: Vec<Chunk<'_>> = texts
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| going.binary_search(index).is_ok())
            .map(|(_, text)| Chunk {
                sequence: &mut text.sequence,
                ids: text.written.last().map_or(&[], std::slice::from_ref),
                prompt_ends: true,
                wanted: Wanted::Last,
            })
            .collect();
        done += chunks.len();
        logits = engine.forward(&mut chunks)?;
        progress(done);
    }
}

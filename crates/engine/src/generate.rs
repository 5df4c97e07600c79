//! Writing a text token by token.

use std::time::{Duration, Instant};

use headwise_kernels::profile::{self, Profile};

use crate::{Chunk, Engine, EngineError, PromptLookup, Sampler, Sequence, TokenLogProbabilities, Wanted};

/// How far to write.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Most tokens to write.
    pub tokens: usize,
    /// Tokens that end the text.
    pub stop: Vec<u32>,
}

/// A token that has just been written.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// The token.
    pub id: u32,
    /// The scores `[vocabulary]` it was chosen from.
    pub logits: &'a [f32],
}

impl NewToken<'_> {
    /// How likely the token was, and the `most` likeliest in its place.
    pub fn log_probabilities(&self, most: usize) -> TokenLogProbabilities {
        TokenLogProbabilities::new(self.logits, self.id, most)
    }
}

/// What was written, and how long it took.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// Time of reading the prompt.
    pub prefill: Duration,
    /// Time of every forward after it.
    pub steps: Vec<Duration>,
    /// Whether a stop token ended the text.
    pub stopped: bool,
    /// Whether the last token completed the form that the text follows.
    pub complete: bool,
    /// Tokens that were read ahead, as drafts.
    pub drafted: usize,
    /// How many of them the text took over.
    pub accepted: usize,
    /// Where the time went until the prompt was read, if a profile runs.
    pub prefill_profile: Option<Profile>,
    /// Where the time went from there on, if a profile runs.
    pub steps_profile: Option<Profile>,
}

impl Generated {
    /// Tokens written per second, the first (which the prompt's last scores give) left out.
    pub fn tokens_per_second(&self) -> f64 {
        let tokens = (self.ids.len() + usize::from(self.stopped)).saturating_sub(1);
        tokens as f64 / self.steps.iter().sum::<Duration>().as_secs_f64().max(1e-9)
    }

    /// Tokens that were written and not read: the last one, unless another ended the text. A prompt that follows begins with them.
    pub fn unread(&self) -> &[u32] {
        &self.ids[self.read()..]
    }

    /// Tokens that the model has read of what was written: not the last one, unless another ended the text.
    fn read(&self) -> usize {
        (self.ids.len() + usize::from(self.stopped)).saturating_sub(1)
    }
}

/// Reads `prompt` into `sequence` and writes on; `on_token` sees every token and returns whether to go on.
pub fn generate(
    engine: &Engine,
    sequence: &mut Sequence,
    prompt: &[u32],
    generation: &Generation,
    sampler: &mut Sampler,
    mut on_token: impl FnMut(u32) -> bool,
) -> Result<Generated, EngineError> {
    generate_with(engine, sequence, prompt, generation, sampler, None, |token| on_token(token.id))
}

/// The same, where `on_token` sees the scores too, and with drafts of `lookup`, which change nothing but the time.
pub fn generate_with(
    engine: &Engine,
    sequence: &mut Sequence,
    prompt: &[u32],
    generation: &Generation,
    sampler: &mut Sampler,
    lookup: Option<&PromptLookup>,
    mut on_token: impl FnMut(NewToken<'_>) -> bool,
) -> Result<Generated, EngineError> {
    if lookup.is_some() {
        engine.check_rollback(sequence.policy())?;
    }
    sampler.read(prompt);
    sampler.end_with(&generation.stop);
    let started = Instant::now();
    let mut logits = engine.prefill(sequence, prompt, |_| {})?;
    let mut generated = Generated { prefill: started.elapsed(), ..Generated::default() };
    generated.prefill_profile = profile::lap();
    let before = sequence.tokens();
    // What drafts are copied from.
    let mut text = if lookup.is_some() { prompt.to_vec() } else { Vec::new() };
    let mut draft: Vec<u32> = Vec::new();
    loop {
        let mut going = true;
        for (row, scores) in logits.rows().enumerate() {
            going = generated.ids.len() < generation.tokens;
            if !going {
                break;
            }
            let id = sampler.try_choose(scores)?;
            generated.stopped = sampler.ended_by(id);
            going = !generated.stopped;
            if !going {
                break;
            }
            generated.ids.push(id);
            text.push(id);
            generated.complete = sampler.finished();
            going = on_token(NewToken { id, logits: scores })
                && !generated.complete
                && generated.ids.len() < generation.tokens
                && before + generated.read() < engine.context();
            if !going || draft.get(row) != Some(&id) {
                break;
            }
            generated.accepted += 1;
        }
        sequence.rollback(before + generated.read());
        let (true, Some(&id)) = (going, generated.ids.last()) else { break };
        let most = engine.most_draft(sequence).min(generation.tokens - generated.ids.len() - 1);
        let ahead = lookup.map_or(&[][..], |lookup| lookup.draft(&text, most));
        generated.drafted += ahead.len();
        let ids = [&[id], ahead].concat();
        let started = Instant::now();
        let chunk = Chunk { sequence: &mut *sequence, ids: &ids, prompt_ends: true, wanted: Wanted::All };
        logits = engine.forward(&mut [chunk])?.pop().unwrap_or_default();
        generated.steps.push(started.elapsed());
        draft = ids[1..].to_vec();
    }
    generated.steps_profile = profile::lap();
    Ok(generated)
}

impl Engine {
    /// Tokens that can be read beyond the next one of `sequence`, and taken back.
    fn most_draft(&self, sequence: &Sequence) -> usize {
        self.most_tokens().saturating_sub(sequence.tokens()).min(sequence.most_rollback()).saturating_sub(1)
    }
}

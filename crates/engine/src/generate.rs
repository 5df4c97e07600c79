//! Writing a text token by token.

use std::time::{Duration, Instant};

use headwise_kernels::profile::{self, Profile};

use crate::{Engine, EngineError, Sampler, Sequence};

/// How far to write.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Most tokens to write.
    pub tokens: usize,
    /// Tokens that end the text.
    pub stop: Vec<u32>,
}

/// What was written, and how long it took.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// Time of reading the prompt.
    pub prefill: Duration,
    /// Time of every further token.
    pub steps: Vec<Duration>,
    /// Whether a stop token ended the text.
    pub stopped: bool,
    /// Where the time went until the prompt was read, if a profile runs.
    pub prefill_profile: Option<Profile>,
    /// Where the time went from there on, if a profile runs.
    pub steps_profile: Option<Profile>,
}

impl Generated {
    /// Tokens written per second, the first (which the prompt's last scores give) left out.
    pub fn tokens_per_second(&self) -> f64 {
        self.steps.len() as f64 / self.steps.iter().sum::<Duration>().as_secs_f64().max(1e-9)
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
    let started = Instant::now();
    let mut logits = engine.prefill(sequence, prompt, |_| {})?;
    let mut generated = Generated { prefill: started.elapsed(), ..Generated::default() };
    generated.prefill_profile = profile::lap();
    while generated.ids.len() < generation.tokens {
        let id = sampler.choose(logits.last());
        if generation.stop.contains(&id) {
            generated.stopped = true;
            break;
        }
        generated.ids.push(id);
        if !on_token(id) || generated.ids.len() == generation.tokens || sequence.tokens() == engine.context() {
            break;
        }
        let started = Instant::now();
        logits = engine.step(sequence, id)?;
        generated.steps.push(started.elapsed());
    }
    generated.steps_profile = profile::lap();
    Ok(generated)
}

//! Writing many texts at once: their prompts share forwards, or are one prompt read once, and their steps share forwards.

use crate::{Chunk, Engine, EngineError, Generation, Logits, Prompt, Sampler, Sequence, TokenLogProbabilities, Wanted};

/// A text that is being written.
#[derive(Clone, Debug)]
pub struct Writing {
    sequence: Sequence,
    prompt: Vec<u32>,
    sampler: Sampler,
    written: Vec<u32>,
    /// How many of the likeliest tokens to note with the probability of each token, if any.
    likeliest: Option<usize>,
    log_probabilities: Vec<TokenLogProbabilities>,
    stopped: bool,
    complete: bool,
}

impl Writing {
    /// A text that begins with `prompt`; `sequence` is empty.
    pub fn new(sequence: Sequence, prompt: Vec<u32>, mut sampler: Sampler) -> Self {
        sampler.read(&prompt);
        Self {
            sequence,
            prompt,
            sampler,
            written: Vec::new(),
            likeliest: None,
            log_probabilities: Vec::new(),
            stopped: false,
            complete: false,
        }
    }

    /// Notes the log-probability of every token that is written, and the `likeliest` ones in its place.
    pub fn with_log_probabilities(mut self, likeliest: usize) -> Self {
        self.likeliest = Some(likeliest);
        self
    }

    /// The text with what it has in its cache.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The log-probabilities of the tokens that were written, if they are noted.
    pub fn log_probabilities(&self) -> &[TokenLogProbabilities] {
        &self.log_probabilities[..self.log_probabilities.len().min(self.written.len())]
    }

    /// Log-probability of the text, if it is noted: of all tokens, the one that ended it included, and of a token in the mean.
    pub fn log_probability(&self) -> Option<[f64; 2]> {
        let sum: f64 = self.log_probabilities.iter().map(|token| token.chosen.value).sum();
        self.likeliest.map(|_| [sum, sum / self.log_probabilities.len().max(1) as f64])
    }

    /// The tokens after the prompt, without the one that ended the text.
    pub fn written(&self) -> &[u32] {
        &self.written
    }

    /// Whether a stop token ended the text, or its form was complete.
    pub fn stopped(&self) -> bool {
        self.stopped || self.complete
    }

    /// Chooses the next token; returns whether the text goes on with it.
    fn choose(&mut self, logits: &[f32], generation: &Generation, context: usize) -> Result<bool, EngineError> {
        if self.written.len() >= generation.tokens {
            return Ok(false);
        }
        let id = self.sampler.try_choose(logits)?;
        if let Some(likeliest) = self.likeliest {
            self.log_probabilities.push(TokenLogProbabilities::new(logits, id, likeliest));
        }
        self.stopped = self.sampler.ended_by(id);
        if self.stopped {
            return Ok(false);
        }
        self.written.push(id);
        self.complete = self.sampler.finished();
        Ok(!self.complete && self.written.len() < generation.tokens && self.sequence.tokens() < context)
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
    let read: usize = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let logits = engine.prefill_all(&mut prompts, &mut progress)?;
    write_on(engine, texts, logits, generation, |written| progress(read + written))
}

/// Reads the prompt of `text` once and writes as many answers to it as there are `samplers`, each as it would be written alone.
///
/// The answers are forks of one text: they share what the cache holds of the prompt, until one of them changes it. `progress` is told
/// how many tokens have been read and written.
pub fn generate_several(
    engine: &Engine,
    mut text: Writing,
    samplers: Vec<Sampler>,
    generation: &Generation,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Writing>, EngineError> {
    let logits = engine.prefill(&mut text.sequence, &text.prompt, &mut progress)?;
    let read = text.prompt.len();
    let scores = vec![logits; samplers.len()];
    let fork = |mut sampler: Sampler| {
        sampler.read(&text.prompt);
        Writing { sampler, ..text.clone() }
    };
    let mut texts: Vec<Writing> = samplers.into_iter().map(fork).collect();
    // No fork is copied for the sake of a text that nobody writes on.
    drop(text);
    write_on(engine, &mut texts, scores, generation, |written| progress(read + written))?;
    Ok(texts)
}

/// Writes `texts` on, whose prompts have been read up to the scores `logits`.
fn write_on(
    engine: &Engine,
    texts: &mut [Writing],
    mut logits: Vec<Logits>,
    generation: &Generation,
    mut progress: impl FnMut(usize),
) -> Result<(), EngineError> {
    texts.iter_mut().for_each(|text| text.sampler.end_with(&generation.stop));
    let mut done = 0;
    let mut going: Vec<usize> = (0..texts.len()).collect();
    loop {
        let mut on = Vec::with_capacity(going.len());
        for (&index, scores) in going.iter().zip(&logits) {
            if texts[index].choose(scores.last(), generation, engine.context())? {
                on.push(index);
            }
        }
        going = on;
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

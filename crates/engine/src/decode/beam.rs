//! Beam search: the `beams` likeliest beginnings of an answer are written on together.
//!
//! A step takes, of all continuations of all beams by one token, those with the largest log-probability `Σ log p(y_t | y_<t)`. A
//! continuation that ends the text leaves the beams, which are one fewer from then on; when none is left, or the answer is as long as it
//! may be, the best are ranked by `Σ log p / length^length_penalty`. One beam is greedy writing; with as many beams as there are
//! answers, the search is exhaustive. Forks share what the cache holds, and one forward steps all beams.

use crate::{Chunk, Engine, EngineError, Generation, Logits, Sequence, Wanted};

use super::{likeliest, log_sum_exp};

/// How answers are searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamSearch {
    /// Beginnings that are written on together; at least 1.
    pub beams: usize,
    /// Exponent of the length that log-probabilities are divided by: 0 ranks by probability, which favours short answers; 1 by the
    /// mean over tokens.
    pub length_penalty: f64,
}

/// An answer that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// Log-probability of all tokens together, the one that ended the text included.
    pub log_probability: f64,
    /// What answers are ranked by; the larger the better.
    pub score: f64,
    /// Whether a stop token ended the text.
    pub stopped: bool,
}

/// The beginning of an answer.
struct Beam {
    sequence: Sequence,
    ids: Vec<u32>,
    log_probability: f64,
    /// Scores of the next token.
    logits: Logits,
}

/// A beam and the token it may go on with.
struct Continuation {
    beam: usize,
    id: u32,
    log_probability: f64,
}

impl BeamSearch {
    /// An answer with the rank it has.
    pub(super) fn hypothesis(&self, ids: Vec<u32>, log_probability: f64, stopped: bool) -> Hypothesis {
        let length = (ids.len() + usize::from(stopped)).max(1) as f64;
        Hypothesis { ids, log_probability, score: log_probability / length.powf(self.length_penalty), stopped }
    }
}

/// Reads `prompt` into `sequence` and searches for the likeliest answers, at most `search.beams`; returns them, the best first.
/// `progress` is told how long the answers are.
pub fn beam_search(
    engine: &Engine,
    mut sequence: Sequence,
    prompt: &[u32],
    generation: &Generation,
    search: BeamSearch,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Hypothesis>, EngineError> {
    let logits = engine.prefill(&mut sequence, prompt, |_| {})?;
    let mut beams = vec![Beam { sequence, ids: Vec::new(), log_probability: 0.0, logits }];
    let mut found: Vec<Hypothesis> = Vec::new();
    for length in 1..=generation.tokens {
        let open = search.beams.max(1) - found.len();
        let mut going = Vec::with_capacity(open);
        for next in continuations(&beams, open) {
            if generation.stop.contains(&next.id) {
                found.push(search.hypothesis(beams[next.beam].ids.clone(), next.log_probability, true));
            } else {
                going.push(next);
            }
        }
        let full = beams[0].sequence.tokens() >= engine.context();
        if going.is_empty() || length == generation.tokens || full {
            found.extend(going.into_iter().map(|next| {
                let ids = [&beams[next.beam].ids[..], &[next.id]].concat();
                search.hypothesis(ids, next.log_probability, false)
            }));
            break;
        }
        // The parents are gone before a fork is written to, so that only what several forks share is copied.
        beams = forked(&beams, going);
        step(engine, &mut beams)?;
        progress(length);
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(found)
}

/// The `open` likeliest continuations of all `beams`; among equals those of earlier beams and lower tokens first.
fn continuations(beams: &[Beam], open: usize) -> Vec<Continuation> {
    let mut all: Vec<Continuation> = Vec::new();
    for (index, beam) in beams.iter().enumerate() {
        let scores = beam.logits.last();
        let total = log_sum_exp(scores);
        all.extend(likeliest(scores, open).into_iter().map(|id| {
            let log_probability = beam.log_probability + f64::from(scores[id as usize]) - total;
            Continuation { beam: index, id, log_probability }
        }));
    }
    // A token that cannot be is no answer.
    all.retain(|next| next.log_probability > f64::NEG_INFINITY);
    all.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
    all.truncate(open);
    all
}

/// The beams that `going` names, each with its new token, which is not read yet.
fn forked(beams: &[Beam], going: Vec<Continuation>) -> Vec<Beam> {
    let fork = |next: Continuation| {
        let parent = &beams[next.beam];
        Beam {
            sequence: parent.sequence.clone(),
            ids: [&parent.ids[..], &[next.id]].concat(),
            log_probability: next.log_probability,
            logits: Logits::default(),
        }
    };
    going.into_iter().map(fork).collect()
}

/// Reads the newest token of every beam.
fn step(engine: &Engine, beams: &mut [Beam]) -> Result<(), EngineError> {
    let (mut chunks, mut scores) = (Vec::with_capacity(beams.len()), Vec::with_capacity(beams.len()));
    for Beam { sequence, ids, logits, .. } in beams {
        let ids = &ids[ids.len() - 1..];
        chunks.push(Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last });
        scores.push(logits);
    }
    for (logits, new) in scores.into_iter().zip(engine.forward(&mut chunks)?) {
        *logits = new;
    }
    Ok(())
}

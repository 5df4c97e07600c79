//! OPERA: beam search that punishes leaning on a token of the answer itself, and goes back when all beams do.
//!
//! Models that make things up attend to a token that sums up what they wrote more than to what they were shown. Every beam tries its
//! `candidates` likeliest tokens in one forward. The row of a candidate in the last layer, `a_i` `[tokens]`, is the largest weight over
//! heads, scaled to sum 1. Over the tokens of the answer, `c_j = 1e-7 · Π_{i ≥ j} (scale · a_ij)` grows where column `j` is attended to
//! again and again; `φ = max_j c_j`, and a candidate counts `log p − alpha · φ`. For the first `first` tokens `φ` is minus the weight on
//! the evidence. When the largest column of all beams has stood at one place more than `repeats` times, the answers go back to the token
//! after it and take another. Huang et al. 2024, arXiv:2311.17911.
//!
//! The paper scores candidates by a softmax over them alone; here `p` is the model's own, so that without penalty this is beam search.

mod over_trust;
mod retrospection;

use std::ops::Range;

use self::over_trust::{OverTrust, on_evidence};
use self::retrospection::{Retrospection, mode, repeats};
use super::beam::{BeamSearch, Hypothesis};
use super::{likeliest, log_sum_exp};
use crate::cache::{CachePolicy, Needs};
use crate::{Chunk, Engine, EngineError, Generation, Logits, Sequence, Wanted};

headwise_spec::method! {
    /// Beam search that punishes leaning on a token of the answer itself, and goes back when all beams do.
    ///
    /// For answers about something shown, where a model drifts into what it made up itself. Every token costs `candidates` forwards for
    /// each beam. Huang et al. 2024, arXiv:2311.17911.
    pub struct Opera {
        /// Beginnings that are written on together.
        pub beams: usize = 5,
        /// Tokens that each of them tries; how often a place may be tried again.
        pub candidates: usize = 5,
        /// Weight of the penalty.
        pub alpha: f64 = 1.0,
        /// What attention is multiplied by before it is multiplied up.
        pub scale: f64 = 50.0,
        /// First tokens of an answer, for which attention to the evidence counts instead.
        pub first: usize = 10,
        /// Times the largest column may stand at one place before all answers go back.
        pub repeats: usize = 15,
        /// Last tokens among which they are counted.
        pub window: usize = 512,
        /// Exponent of the length that the scores of answers are divided by.
        pub length_penalty: f64 = 1.0,
    }
}

/// What OPERA found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperaAnswers {
    /// The answers, the best first; their scores have the penalties in them.
    pub answers: Vec<Hypothesis>,
    /// How often they went back.
    pub rollbacks: usize,
    /// Tokens that were tried.
    pub tried: usize,
}

/// What is kept of the beginning of an answer, to go back to it.
#[derive(Clone, Debug, PartialEq)]
struct Beginning {
    ids: Vec<u32>,
    log_probability: f64,
    /// Log-probability less all penalties.
    rank: f64,
    columns: OverTrust,
    /// The largest column after every token that it counts for.
    locations: Vec<usize>,
}

struct Beam {
    beginning: Beginning,
    sequence: Sequence,
    logits: Logits,
}

/// All beams at one length, and how many answers had ended.
struct Moment {
    beams: Vec<Beginning>,
    found: usize,
}

impl Opera {
    /// Reads `prompt`, of which `evidence` is what answers should look at, and searches for answers under `policy`, which must be able
    /// to take tokens back. `progress` is told how long the answers are.
    pub fn search(
        &self,
        engine: &Engine,
        policy: &CachePolicy,
        prompt: &[u32],
        evidence: Range<usize>,
        generation: &Generation,
        mut progress: impl FnMut(usize),
    ) -> Result<OperaAnswers, EngineError> {
        self.check()?;
        policy.check_rollback()?;
        let layer = engine.last_whole_layer()?;
        let mut read = engine.sequence(&policy.also_gathering(Needs { query_window: 1, ..Needs::default() }))?;
        let logits = engine.prefill(&mut read, prompt, |_| {})?;
        let search = Search { method: self, engine, layer, evidence, read };
        search.run(logits, generation, &mut progress)
    }

    fn check(&self) -> Result<(), EngineError> {
        let refused = |reason: &str| Err(EngineError::Decoding(format!("`opera`: {reason}")));
        let number = |value: f64| value.is_finite() && value >= 0.0;
        match () {
            () if self.beams == 0 => refused("beams must be at least 1"),
            () if self.candidates == 0 => refused("candidates must be at least 1"),
            () if self.window == 0 => refused("window must be at least 1"),
            () if !number(self.alpha) => refused(&format!("alpha={} must be at least 0", self.alpha)),
            () if !number(self.scale) || self.scale == 0.0 => refused(&format!("scale={} must be above 0", self.scale)),
            () if !self.length_penalty.is_finite() => refused("length_penalty must be a number"),
            () => Ok(()),
        }
    }
}

/// A search that runs.
struct Search<'a> {
    method: &'a Opera,
    engine: &'a Engine,
    /// The layer whose attention counts.
    layer: usize,
    evidence: Range<usize>,
    /// The prompt, read.
    read: Sequence,
}

impl Search<'_> {
    fn run(
        &self,
        logits: Logits,
        generation: &Generation,
        progress: &mut impl FnMut(usize),
    ) -> Result<OperaAnswers, EngineError> {
        let Opera { beams: width, length_penalty, .. } = *self.method;
        let rank = BeamSearch { beams: width, length_penalty };
        let start = Beginning {
            ids: Vec::new(),
            log_probability: 0.0,
            rank: 0.0,
            columns: OverTrust::default(),
            locations: Vec::new(),
        };
        let mut beams = vec![Beam { beginning: start, sequence: self.read.clone(), logits }];
        let mut answers: Vec<Hypothesis> = Vec::new();
        let mut past: Vec<Moment> = Vec::new();
        let mut again = Retrospection::default();
        let mut tried = 0;
        loop {
            let length = beams.first().map_or(0, |beam| beam.beginning.ids.len());
            let full = self.read.tokens() + length >= self.engine.context();
            if beams.is_empty() || length == generation.tokens || full {
                break;
            }
            let moment = beams.iter().map(|beam| beam.beginning.clone()).collect();
            past.push(Moment { beams: moment, found: answers.len() });
            let mut next = self.candidates(&beams, &again)?;
            tried += next.len();
            next.sort_by(|a, b| b.beginning.rank.total_cmp(&a.beginning.rank));
            next.truncate(width - answers.len());
            let ends = |beam: &Beam| beam.beginning.ids.last().is_some_and(|id| generation.stop.contains(id));
            let (ended, going): (Vec<Beam>, Vec<Beam>) = next.into_iter().partition(ends);
            answers.extend(ended.into_iter().map(|beam| beam.answer(&rank, true)));
            beams = going;
            progress(length + 1);
            if let Some(place) = self.place_to_return(&beams, &mut again) {
                again.forbid(place, beams.iter().map(|beam| beam.beginning.ids[place]));
                past.truncate(place + 1);
                if let Some(moment) = past.pop() {
                    answers.truncate(moment.found);
                    beams = self.reread(moment.beams)?;
                }
            }
        }
        answers.extend(
            beams.into_iter().filter(|beam| !beam.beginning.ids.is_empty()).map(|beam| beam.answer(&rank, false)),
        );
        answers.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(OperaAnswers { answers, rollbacks: again.total(), tried })
    }

    /// Every beam with each of its candidates, read in one forward.
    fn candidates(&self, beams: &[Beam], again: &Retrospection) -> Result<Vec<Beam>, EngineError> {
        let mut next = Vec::new();
        for beam in beams {
            let scores = beam.logits.last();
            let total = log_sum_exp(scores);
            let place = beam.beginning.ids.len();
            let allowed = likeliest(scores, scores.len()).into_iter().filter(|&id| again.allows(place, id));
            for id in allowed.take(self.method.candidates) {
                let log_probability = f64::from(scores[id as usize]) - total;
                let mut beginning = beam.beginning.clone();
                beginning.ids.push(id);
                beginning.log_probability += log_probability;
                beginning.rank += log_probability;
                next.push(Beam { beginning, sequence: beam.sequence.clone(), logits: Logits::default() });
            }
        }
        // A token that cannot be is no candidate.
        next.retain(|beam| beam.beginning.log_probability > f64::NEG_INFINITY);
        self.read_on(&mut next, 1)?;
        next.iter_mut().for_each(|beam| self.punish(beam));
        Ok(next)
    }

    /// Reads the last `count` tokens of every beam.
    fn read_on(&self, beams: &mut [Beam], count: usize) -> Result<(), EngineError> {
        let (mut chunks, mut scores) = (Vec::with_capacity(beams.len()), Vec::with_capacity(beams.len()));
        for Beam { sequence, beginning, logits } in beams {
            let ids = &beginning.ids[beginning.ids.len() - count..];
            chunks.push(Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last });
            scores.push(logits);
        }
        for (logits, new) in scores.into_iter().zip(self.engine.forward(&mut chunks)?) {
            *logits = new;
        }
        Ok(())
    }

    /// Takes the penalty of its newest token off the rank of `beam`.
    fn punish(&self, beam: &mut Beam) {
        let Opera { alpha, scale, first, .. } = *self.method;
        let row = beam.sequence.layers()[self.layer].strongest_attention();
        let Beginning { ids, rank, columns, locations, .. } = &mut beam.beginning;
        columns.push(&row[row.len() - ids.len()..], scale);
        let penalty = if ids.len() <= first {
            -on_evidence(&row, &self.evidence)
        } else {
            let (location, largest) = columns.largest();
            locations.push(location);
            largest
        };
        *rank -= alpha * penalty;
    }

    /// How many tokens to keep, if all beams lean on one token too much.
    fn place_to_return(&self, beams: &[Beam], again: &mut Retrospection) -> Option<usize> {
        let Opera { first, window, candidates, repeats: most, .. } = *self.method;
        let at = mode(beams.iter().filter_map(|beam| beam.beginning.locations.last().copied()))?;
        let histories = beams.iter().map(|beam| &beam.beginning.locations[..]);
        let length = beams.first()?.beginning.ids.len();
        // Something of the answer has to stay.
        if at < first.max(1) || at + 1 >= length || !repeats(histories, at, most, window) {
            return None;
        }
        again.place(at, candidates)
    }

    /// The beams as they were: their tokens are read again after the prompt, which gives the same bits.
    fn reread(&self, beginnings: Vec<Beginning>) -> Result<Vec<Beam>, EngineError> {
        let count = beginnings.first().map_or(0, |beginning| beginning.ids.len());
        let beam = |beginning| Beam { beginning, sequence: self.read.clone(), logits: Logits::default() };
        let mut beams: Vec<Beam> = beginnings.into_iter().map(beam).collect();
        self.read_on(&mut beams, count)?;
        Ok(beams)
    }
}

impl Beam {
    fn answer(self, search: &BeamSearch, stopped: bool) -> Hypothesis {
        let Beginning { mut ids, log_probability, rank, .. } = self.beginning;
        ids.truncate(ids.len() - usize::from(stopped));
        let found = search.hypothesis(ids, rank, stopped);
        Hypothesis { log_probability, ..found }
    }
}

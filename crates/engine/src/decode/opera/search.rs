//! A search that runs, one token of all its beams at a time, for whoever has other things to do in between.

use std::ops::Range;

use super::over_trust::{OverTrust, on_evidence};
use super::retrospection::{Retrospection, mode, repeats};
use super::{Opera, OperaAnswers};
use crate::decode::beam::{BeamSearch, Hypothesis};
use crate::decode::{likeliest, log_sum_exp};
use crate::{Chunk, Engine, EngineError, Generation, Logits, Sequence, Wanted};

/// What is kept of the beginning of an answer, to go back to it.
#[derive(Clone, Debug, Default, PartialEq)]
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

/// A search for answers to a prompt that has been read.
pub(crate) struct OperaSearch {
    method: Opera,
    generation: Generation,
    evidence: Range<usize>,
    /// The layer whose attention counts.
    layer: usize,
    /// The prompt, read under a policy that gathers its last query.
    read: Sequence,
    beams: Vec<Beam>,
    /// Answers that have ended.
    answers: Vec<Hypothesis>,
    past: Vec<Moment>,
    again: Retrospection,
    tried: usize,
    bytes: usize,
    peak_bytes: usize,
}

impl OperaSearch {
    /// Begins behind the prompt in `read`, of which `evidence` is what answers should look at; `logits` are the scores after it.
    pub fn new(
        engine: &Engine,
        method: Opera,
        read: Sequence,
        logits: Logits,
        evidence: Range<usize>,
        generation: Generation,
    ) -> Result<Self, EngineError> {
        let layer = engine.last_whole_layer()?;
        let beams = vec![Beam { beginning: Beginning::default(), sequence: read.clone(), logits }];
        let (answers, past, again) = (Vec::new(), Vec::new(), Retrospection::default());
        let bytes = read.bytes().total();
        let peak_bytes = read.peak_bytes().max(bytes);
        Ok(Self { method, generation, evidence, layer, read, beams, answers, past, again, tried: 0, bytes, peak_bytes })
    }

    /// Tokens of the answers that are being written.
    pub fn length(&self) -> usize {
        self.beams.first().map_or(0, |beam| beam.beginning.ids.len())
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.read.tokens()
    }

    /// Bytes of the caches of all beams together, now and at most.
    pub fn bytes(&self) -> (usize, usize) {
        (self.bytes, self.peak_bytes)
    }

    /// Writes one token more, or goes back; returns whether there is more to do.
    pub fn step(&mut self, engine: &Engine) -> Result<bool, EngineError> {
        if !self.goes_on(engine) {
            return Ok(false);
        }
        let moment = self.beams.iter().map(|beam| beam.beginning.clone()).collect();
        self.past.push(Moment { beams: moment, found: self.answers.len() });
        let mut next = self.candidates(engine)?;
        self.peak_bytes = self.peak_bytes.max(self.bytes_of(&next));
        self.tried += next.len();
        next.sort_by(|a, b| b.beginning.rank.total_cmp(&a.beginning.rank));
        next.truncate(self.method.beams - self.answers.len());
        let stop = &self.generation.stop;
        let ends = |beam: &Beam| beam.beginning.ids.last().is_some_and(|id| stop.contains(id));
        let (ended, going): (Vec<Beam>, Vec<Beam>) = next.into_iter().partition(ends);
        let rank = self.ranking();
        self.answers.extend(ended.into_iter().map(|beam| beam.answer(&rank, true)));
        self.beams = going;
        if let Some(place) = self.place_to_return() {
            self.again.forbid(place, self.beams.iter().map(|beam| beam.beginning.ids[place]));
            self.past.truncate(place + 1);
            if let Some(moment) = self.past.pop() {
                self.answers.truncate(moment.found);
                self.beams = self.reread(engine, moment.beams)?;
            }
        }
        self.bytes = self.bytes_of(&self.beams);
        Ok(self.goes_on(engine))
    }

    /// The answers, those that have not ended as they are.
    pub fn finish(self) -> OperaAnswers {
        let rank = self.ranking();
        let Self { mut answers, beams, again, tried, .. } = self;
        let begun = beams.into_iter().filter(|beam| !beam.beginning.ids.is_empty());
        answers.extend(begun.map(|beam| beam.answer(&rank, false)));
        answers.sort_by(|a, b| b.score.total_cmp(&a.score));
        OperaAnswers { answers, rollbacks: again.total(), tried }
    }

    fn goes_on(&self, engine: &Engine) -> bool {
        let length = self.length();
        let full = self.read.tokens() + length >= engine.context();
        !(self.beams.is_empty() || length == self.generation.tokens || full)
    }

    fn ranking(&self) -> BeamSearch {
        BeamSearch { beams: self.method.beams, length_penalty: self.method.length_penalty }
    }

    fn bytes_of(&self, beams: &[Beam]) -> usize {
        let forks: Vec<&Sequence> =
            std::iter::once(&self.read).chain(beams.iter().map(|beam| &beam.sequence)).collect();
        Sequence::bytes_together(&forks).total()
    }

    /// Every beam with each of its candidates, read in one forward.
    fn candidates(&self, engine: &Engine) -> Result<Vec<Beam>, EngineError> {
        let mut next = Vec::new();
        for beam in &self.beams {
            let scores = beam.logits.last();
            let total = log_sum_exp(scores);
            let place = beam.beginning.ids.len();
            let allowed = likeliest(scores, scores.len()).into_iter().filter(|&id| self.again.allows(place, id));
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
        read_on(engine, &mut next, 1)?;
        next.iter_mut().for_each(|beam| self.punish(beam));
        Ok(next)
    }

    /// Takes the penalty of its newest token off the rank of `beam`.
    fn punish(&self, beam: &mut Beam) {
        let Opera { alpha, scale, first, .. } = self.method;
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
    fn place_to_return(&mut self) -> Option<usize> {
        let Opera { first, window, candidates, repeats: most, .. } = self.method;
        let at = mode(self.beams.iter().filter_map(|beam| beam.beginning.locations.last().copied()))?;
        let histories = self.beams.iter().map(|beam| &beam.beginning.locations[..]);
        let length = self.beams.first()?.beginning.ids.len();
        // Something of the answer has to stay.
        if at < first.max(1) || at + 1 >= length || !repeats(histories, at, most, window) {
            return None;
        }
        self.again.place(at, candidates)
    }

    /// The beams as they were: their tokens are read again after the prompt, which gives the same bits.
    fn reread(&self, engine: &Engine, beginnings: Vec<Beginning>) -> Result<Vec<Beam>, EngineError> {
        let count = beginnings.first().map_or(0, |beginning| beginning.ids.len());
        let beam = |beginning| Beam { beginning, sequence: self.read.clone(), logits: Logits::default() };
        let mut beams: Vec<Beam> = beginnings.into_iter().map(beam).collect();
        read_on(engine, &mut beams, count)?;
        Ok(beams)
    }
}

/// Reads the last `count` tokens of every beam.
fn read_on(engine: &Engine, beams: &mut [Beam], count: usize) -> Result<(), EngineError> {
    let (mut chunks, mut scores) = (Vec::with_capacity(beams.len()), Vec::with_capacity(beams.len()));
    for Beam { sequence, beginning, logits } in beams {
        let ids = &beginning.ids[beginning.ids.len() - count..];
        chunks.push(Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last });
        scores.push(logits);
    }
    for (logits, new) in scores.into_iter().zip(engine.forward(&mut chunks)?) {
        *logits = new;
    }
    Ok(())
}

impl Beam {
    fn answer(self, search: &BeamSearch, stopped: bool) -> Hypothesis {
        let Beginning { mut ids, log_probability, rank, .. } = self.beginning;
        ids.truncate(ids.len() - usize::from(stopped));
        let found = search.hypothesis(ids, rank, stopped);
        Hypothesis { log_probability, ..found }
    }
}

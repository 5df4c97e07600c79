//! Requests whose answer is [searched for](crate::Opera), in several beams that may go back.
//!
//! Their prompts are read with those of others. From then on every token of a search has a forward of its own, with all that its beams try. Beams
//! cannot make room and come back, so the memory of all of them is reserved before the prompt is read. What is written may be taken back, so
//! nothing is told before the end.

use std::sync::Arc;
use std::time::Instant;

use super::request::{CacheUsage, Event, Finish, Request, ScheduleError};
use super::text::Text;
use super::{Counters, Scheduler};
use crate::cache::CachePolicy;
use crate::decode::OperaSearch;
use crate::{EngineError, Generation, Logits};

/// A search that runs.
pub(super) struct Searching {
    pub request: Arc<Request>,
    search: OperaSearch,
    /// Memory that it may have.
    pub reserved: usize,
    admitted: Instant,
}

impl Searching {
    /// Tells what was found; `finish` is why it ended, if not by itself.
    fn end(self, finish: Option<Finish>, counters: &mut Counters) {
        let (bytes, peak_bytes) = self.search.bytes();
        let prompt = self.search.prompt_tokens();
        // The best comes first. There is none if no token could be written.
        let best = self.search.finish().answers.into_iter().next();
        let (ids, stopped) = best.map_or((Vec::new(), false), |best| (best.ids, best.stopped));
        counters.written_tokens += ids.len() as u64;
        let usage = CacheUsage { bytes, peak_bytes, tokens: prompt + ids.len(), evicted: 0.0 };
        let listener = &self.request.listener;
        for id in ids {
            listener.tell(Event::Token { answer: 0, id, log_probabilities: None, bytes: None });
        }
        let finish = if stopped { Finish::Stop } else { finish.unwrap_or(Finish::Length) };
        listener.tell(Event::End { answer: 0, finish, usage, layers: None, sequence: None });
    }

    fn late(&self, now: Instant) -> bool {
        self.request.late(self.admitted, now)
    }

    /// The policy of its caches, and their bytes.
    pub fn cache(&self) -> (&CachePolicy, usize) {
        (&self.request.policy, self.search.bytes().0)
    }
}

impl Scheduler<'_> {
    /// Checks that the answer to `request` can be searched for, if it is to be, and has its prompt read so.
    pub(super) fn prepare_search(&self, request: &mut Request) -> Result<(), ScheduleError> {
        let Some(method) = &request.search else { return Ok(()) };
        method.check()?;
        let alone = request.samplers.len() == 1 && request.parts.is_none() && request.segments.is_none();
        if !alone || request.exit.is_some() || request.likeliest.is_some() || request.keep {
            return Err(ScheduleError::SearchBeside);
        }
        self.engine.last_whole_layer()?;
        self.engine.check_rollback(&request.policy)?;
        if request.policy.reads_alone() {
            return Err(ScheduleError::SearchOfParts { policy: request.policy.to_string() });
        }
        request.policy = method.policy(&request.policy);
        Ok(())
    }

    /// Searches from now on for the answer to `text`, whose prompt has been read; `scores` are those of the first token.
    pub(super) fn begin_search(&mut self, text: Text, scores: &[f32]) {
        let reserved = text.growth.of(text.request.prompt.len() + 1);
        let Text { request, sequence, admitted, .. } = text;
        let Some(method) = request.search.clone() else { return };
        let logits = Logits { values: scores.to_vec(), vocabulary: scores.len() };
        let generation = Generation { tokens: request.tokens, stop: request.stop.clone() };
        let evidence = 0..request.prompt.len();
        match OperaSearch::new(self.engine, method, sequence, logits, evidence, generation) {
            Ok(search) => self.searches.push(Searching { request, search, reserved, admitted }),
            Err(error) => request.listener.tell(Event::Failed(error.into())),
        }
    }

    /// Goes on with every search by one token.
    pub(super) fn step_searches(&mut self) {
        for mut searching in std::mem::take(&mut self.searches) {
            self.counters.steps += 1;
            match searching.search.step(self.engine) {
                Ok(true) => self.searches.push(searching),
                Ok(false) => searching.end(None, &mut self.counters),
                Err(error) => failed(&searching.request, error),
            }
        }
    }

    /// Ends searches that have had all their time at `now`, with the best that there is.
    pub(super) fn end_late_searches(&mut self, now: Instant) {
        for searching in self.searches.extract_if(.., |searching| searching.late(now)) {
            self.counters.timed_out += 1;
            searching.end(Some(Finish::Time), &mut self.counters);
        }
    }
}

fn failed(request: &Request, error: EngineError) {
    request.listener.tell(Event::Failed(error.into()));
}

#[cfg(test)]
mod tests;

//! Requests that wait: those that have just come, and texts that had to make room.

use std::sync::Arc;
use std::time::Instant;

use super::request::{CacheUsage, Event, Finish, Request, ScheduleError};
use crate::Sampler;

/// What a text that is not being read or written remembers.
pub(super) struct Waiting {
    pub request: Arc<Request>,
    /// What there is of its answer; none if nothing has been written.
    pub begun: Option<Begun>,
    /// Whether it has waited for its shared texts already.
    pub tried: bool,
    /// Since when it waits.
    pub since: Instant,
    /// When it first left the queue, if it had to make room since.
    pub admitted: Option<Instant>,
}

/// The beginning of an answer that gave up its cache.
pub(super) struct Begun {
    /// Index of the answer.
    pub answer: usize,
    pub written: Vec<u32>,
    pub sampler: Sampler,
    /// What its cache had cost.
    pub usage: CacheUsage,
}

impl Waiting {
    /// A request that has just come.
    pub fn new(request: Arc<Request>) -> Self {
        Self { request, begun: None, tried: false, since: Instant::now(), admitted: None }
    }

    /// Tokens to be read before the first new one.
    pub fn tokens(&self) -> usize {
        self.request.prompt.len() + self.begun.as_ref().map_or(0, |begun| begun.written.len())
    }

    /// Whether anything was written already.
    pub fn begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether it has had all its time at `now`, in the queue or since it left that first.
    pub fn late(&self, now: Instant) -> bool {
        self.request.late(self.admitted.unwrap_or(self.since), now)
    }

    /// Tells that there is no time for it: its answer ends where it is, and what has never left the queue is refused.
    pub fn end_late(&self) {
        let listener = &self.request.listener;
        match (&self.begun, self.admitted) {
            (Some(Begun { answer, usage, .. }), _) => listener.tell(Event::End {
                answer: *answer,
                finish: Finish::Time,
                usage: *usage,
                layers: None,
                sequence: None,
            }),
            (None, Some(_)) => tell_unbegun(&self.request, 0, Finish::Time),
            (None, None) => {
                let seconds = self.request.time.unwrap_or_default().as_secs_f64();
                listener.tell(Event::Failed(ScheduleError::Waited { seconds }));
            }
        }
    }
}

/// Tells that the answers of `request` from number `first` on, of which there is nothing, have ended.
pub(super) fn tell_unbegun(request: &Request, first: usize, finish: Finish) {
    for answer in first..request.samplers.len() {
        let usage = CacheUsage::default();
        request.listener.tell(Event::End { answer, finish, usage, layers: None, sequence: None });
    }
}

//! Requests that have had all the time that they may take.
//!
//! The time of an answer counts from when its request leaves the queue, and goes on while it makes room for others. A request may wait as long.

use std::time::Instant;

use super::text::Text;
use super::waiting::Waiting;
use super::{Request, Scheduler};

impl Request {
    /// Whether what began at `start` has had all its time at `now`.
    pub(super) fn late(&self, start: Instant, now: Instant) -> bool {
        self.time.is_some_and(|time| now.saturating_duration_since(start) >= time)
    }
}

impl Scheduler<'_> {
    /// Ends what has had all its time at `now`, and lets go of its memory.
    pub(super) fn end_late(&mut self, now: Instant) {
        let late = |text: &mut Text| text.request.late(text.admitted, now);
        let texts: Vec<Text> = self.texts.extract_if(.., late).collect();
        for mut text in texts {
            text.end_late();
            self.counters.timed_out += 1;
            text.keep_in(&mut self.prefix);
        }
        self.end_late_searches(now);
        // Those that had to make room have an answer to end.
        self.end_late_waiting(now, |waiting| waiting.admitted.is_some());
    }

    /// Refuses the requests for which there was no room until now, if they have waited as long as they may.
    pub(super) fn refuse_late(&mut self, now: Instant) {
        self.end_late_waiting(now, |waiting| waiting.admitted.is_none());
    }

    fn end_late_waiting(&mut self, now: Instant, which: impl Fn(&Waiting) -> bool) {
        let in_time = |waiting: &Waiting| {
            let late = which(waiting) && waiting.late(now);
            if late {
                waiting.end_late();
            }
            !late
        };
        let before = self.waiting.len() + self.sharing.held.len();
        self.waiting.retain(in_time);
        self.sharing.held.retain(in_time);
        self.counters.timed_out += (before - self.waiting.len() - self.sharing.held.len()) as u64;
    }
}

#[cfg(test)]
mod tests;

//! How far a comparison has come.

use std::time::Duration;

/// Below this share of work done, the speed so far says nothing.
const TELLING: f64 = 0.02;

/// How far a comparison has come.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What is being done, in a few words.
    pub doing: &'a str,
    /// Share of the whole work that is done, 0–1.
    pub done: f64,
    /// Time since the start.
    pub elapsed: Duration,
    /// Time left, from the speed so far; `None` at the very start.
    pub left: Option<Duration>,
}

impl<'a> Moment<'a> {
    /// `done` of the work took `elapsed`, and `doing` comes next.
    pub(super) fn new(doing: &'a str, done: f64, elapsed: Duration) -> Self {
        let done = done.min(1.0);
        let left = (done >= TELLING).then(|| elapsed.mul_f64((1.0 - done) / done));
        Self { doing, done, elapsed, left }
    }
}

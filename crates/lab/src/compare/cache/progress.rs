//! What a running comparison tells.

use std::time::Instant;

use super::Item;
use crate::compare::Moment;
use crate::rows::Setting;

/// Listens to a running comparison. Every method may be left out.
pub trait Progress {
    /// An item of the plan begins.
    fn started(&mut self, item: &Item) {
        let _ = item;
    }

    /// Something was done.
    fn moved(&mut self, moment: &Moment<'_>) {
        let _ = moment;
    }

    /// A policy answered a prompt.
    fn answered(&mut self, answer: &Answer<'_>) {
        let _ = answer;
    }

    /// An item of the plan is done.
    fn finished(&mut self, item: &Item) {
        let _ = item;
    }
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {}

/// What a policy answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The policy.
    pub policy: &'a str,
    /// The task.
    pub task: &'a str,
    /// What the policy knew of the question.
    pub setting: Setting,
    /// Tokens of context.
    pub length: usize,
    /// Where the answer stood, 0–1.
    pub depth: Option<f32>,
    /// The whole prompt.
    pub prompt: &'a [u32],
    /// How many of its tokens are context: where the agnostic setting compresses.
    pub context: usize,
    /// The answer.
    pub ids: &'a [u32],
    /// Its score, 0–100.
    pub score: f64,
}

/// Keeps count of the work done.
pub(super) struct Clock<'a> {
    progress: &'a mut dyn Progress,
    started: Instant,
    /// Estimated cost of everything, of the items that are done, and of the current one.
    total: f64,
    before: f64,
    current: f64,
}

impl<'a> Clock<'a> {
    pub fn new(progress: &'a mut dyn Progress, total: f64) -> Self {
        Self { progress, started: Instant::now(), total, before: 0.0, current: 0.0 }
    }

    pub fn start(&mut self, item: &Item) {
        self.current = item.cost;
        self.progress.started(item);
    }

    /// `share` (0–1) of the current item is done, and `doing` comes next.
    pub fn at(&mut self, share: f64, doing: &str) {
        let done = (self.before + self.current * share) / self.total.max(f64::MIN_POSITIVE);
        self.progress.moved(&Moment::new(doing, done, self.started.elapsed()));
    }

    pub fn answered(&mut self, answer: &Answer<'_>) {
        self.progress.answered(answer);
    }

    pub fn finish(&mut self, item: &Item) {
        self.before += item.cost;
        self.current = 0.0;
        self.progress.finished(item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Work;
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<(f64, bool)>);

    impl Progress for Seen {
        fn moved(&mut self, moment: &Moment<'_>) {
            self.0.push((moment.done, moment.left.is_some()));
        }
    }

    #[test]
    fn the_share_done_weighs_items_by_their_cost() {
        let item = |cost| Item { work: Work::Speed { length: 1 }, cost };
        let mut seen = Seen::default();
        let mut clock = Clock::new(&mut seen, 4.0);
        for item in [item(1.0), item(3.0)] {
            clock.start(&item);
            clock.at(0.0, "");
            clock.at(0.5, "");
            clock.finish(&item);
        }
        assert_eq!(seen.0, [(0.0, false), (0.125, true), (0.25, true), (0.625, true)]);
    }
}

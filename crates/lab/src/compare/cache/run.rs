//! Running a plan.

use super::perplexity::Perplexity;
use super::progress::Clock;
use super::recall::Recall;
use super::speed::Speed;
use super::{CompareError, Plan, Progress, Work};
use crate::rows::CacheRow;

impl Plan<'_> {
    /// Measures everything; the rows in the order of the items, and within an item in the order of the policies.
    pub fn run(&self, progress: &mut dyn Progress) -> Result<Vec<CacheRow>, CompareError> {
        let mut clock = Clock::new(progress, self.seconds());
        let mut rows = Vec::new();
        for item in &self.items {
            clock.start(item);
            rows.extend(self.measure(&item.work, &mut clock)?);
            clock.finish(item);
        }
        Ok(rows)
    }

    fn measure(&self, work: &Work, clock: &mut Clock<'_>) -> Result<Vec<CacheRow>, CompareError> {
        let (subject, policies, ids, seed) = (self.subject, &self.policies[..], &self.ids[..], self.seed);
        match *work {
            Work::Recall { task, length } => {
                let (depths, samples) = (self.depths_of(&task), self.samples_of(&task));
                Recall { subject, policies, task, length, depths, samples, seed, prose: &self.prose }.run(clock)
            }
            Work::Perplexity { length } => {
                Perplexity { subject, policies, ids, length, segments: self.contents.segments, seed }.run(clock)
            }
            Work::Speed { length } => {
                Speed { subject, policies, ids, length, repeats: self.contents.repeats, seed }.run(clock)
            }
        }
    }
}

//! Prompts with shared texts: what is read alone first, what is put together, what is learned. See [`kvcomm`](crate::kvcomm).

use std::sync::{Arc, Mutex, PoisonError};

use super::text::Text;
use super::waiting::Waiting;
use super::{Event, FEWEST_ROWS, Listener, Request, Scheduler, WhyRead};
use crate::cache::CachePolicy;
use crate::kvcomm::{Estimate, KvComm, KvCommSettings, Needed};
use crate::{EngineError, Sequence};

/// Shared texts, and prompts that wait for them.
pub(super) struct Sharing {
    pub pool: KvComm,
    /// Texts that are being read alone.
    alone: Vec<Alone>,
    /// Requests that wait for some of them.
    pub held: Vec<Waiting>,
}

/// A text that is being read alone.
struct Alone {
    needed: Needed,
    read: Arc<Read>,
}

/// Hears of the end of a text that is read alone.
#[derive(Default)]
struct Read(Mutex<Outcome>);

#[derive(Default)]
enum Outcome {
    #[default]
    Waiting,
    Read(Box<Sequence>),
    Failed,
}

impl Read {
    fn take(&self) -> Outcome {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for Read {
    fn tell(&self, event: Event) {
        let outcome = match event {
            Event::End { sequence: Some(sequence), .. } => Outcome::Read(sequence),
            Event::Failed(_) => Outcome::Failed,
            _ => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    fn gone(&self) -> bool {
        false
    }
}

impl Sharing {
    pub fn new(bytes: usize) -> Self {
        let pool = KvComm::new(KvCommSettings { bytes, ..KvCommSettings::default() }, CachePolicy::full());
        Self { pool, alone: Vec::new(), held: Vec::new() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pool.clear();
        self.alone.clear();
        self.held.clear();
    }
}

impl Scheduler<'_> {
    /// Holds back the request that is next if its shared texts have to be read alone first, which begins then. Returns whether it did.
    pub(super) fn hold_back(&mut self) -> bool {
        let Some(next) = self.waiting.front().filter(|next| !next.begun()) else { return false };
        let Some(parts) = next.request.parts.clone() else { return false };
        let needed = self.sharing.pool.needed(&parts);
        if needed.is_empty() || next.tried || self.sharing.pool.settings().bytes == 0 {
            return false;
        }
        let held = self.waiting.pop_front();
        self.sharing.held.extend(held);
        for needed in needed {
            if self.sharing.alone.iter().any(|alone| alone.needed == needed) {
                continue;
            }
            let read = Arc::new(Read::default());
            let policy = self.sharing.pool.policy().clone();
            let request = Request::greedy(needed.ids(self.engine), policy, 1, read.clone());
            let request = Request { reuse: false, keep: true, ..request };
            self.waiting.push_front(Waiting::new(Arc::new(request)));
            self.sharing.alone.push(Alone { needed, read });
        }
        true
    }

    /// Learns the texts that have been read alone, and lets requests go on that waited for them.
    pub(super) fn hear_of_texts_alone(&mut self) {
        let before = self.sharing.alone.len();
        let Sharing { pool, alone, .. } = &mut self.sharing;
        alone.retain(|Alone { needed, read }| match read.take() {
            Outcome::Waiting => true,
            Outcome::Read(sequence) => {
                self.engine.install(|| pool.learn_base(needed, &sequence));
                false
            }
            Outcome::Failed => false,
        });
        if self.sharing.alone.len() == before {
            return;
        }
        let waits = |sharing: &Sharing, waiting: &Waiting| {
            let needed = waiting.request.parts.as_ref().map(|parts| sharing.pool.needed(parts)).unwrap_or_default();
            sharing.alone.iter().any(|alone| needed.contains(&alone.needed))
        };
        let held = std::mem::take(&mut self.sharing.held);
        let (held, mut ready): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| waits(&self.sharing, held));
        self.sharing.held = held;
        // What could not be read alone is not tried again.
        ready.iter_mut().for_each(|ready| ready.tried = true);
        ready.into_iter().rev().for_each(|ready| self.waiting.push_front(ready));
    }

    /// The prompt of `request`, of which so many tokens were `found` as they were read, put together from its shared texts, if it has any and
    /// enough is known of them; or why not.
    pub(super) fn estimate(
        &mut self,
        request: &Request,
        found: Option<usize>,
    ) -> Result<(Option<Estimate>, Option<WhyRead>), EngineError> {
        let Some(parts) = &request.parts else { return Ok((None, None)) };
        self.counters.shared_prompts += 1;
        let pool = &mut self.sharing.pool;
        // What was read is better than an estimate, if not much of that is missing.
        if found.is_some_and(|found| found + FEWEST_ROWS >= pool.tokens(parts, &request.policy)) {
            return Ok((None, Some(WhyRead::Cached)));
        }
        if pool.settings().bytes == 0 {
            return Ok((None, Some(WhyRead::Off)));
        }
        Ok(match self.engine.install(|| pool.estimate(self.engine, parts, &request.policy))? {
            Ok(estimate) => (Some(estimate), None),
            Err(unlike) => (None, Some(unlike.into())),
        })
    }

    /// Learns from `text`, whose prompt is being read, what its place does to every shared text in it.
    pub(super) fn learn(&mut self, text: &mut Text) {
        let Some(parts) = text.request.parts.as_ref().filter(|_| text.teaches) else { return };
        let pool = &mut self.sharing.pool;
        text.teaches = !self.engine.install(|| pool.learn(parts, &text.sequence));
    }
}

//! The threads that read experts: what a layer waits for first, then what is wanted ahead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use headwise_models::decoder::ExpertFile;
use headwise_nn::channel::Gated;

use super::Expert;
use super::core::Core;

/// Experts that are read at the same time.
pub(super) const AT_ONCE: usize = 4;

/// What the threads that compute and those that read share.
#[derive(Debug)]
pub(super) struct Shared {
    pub file: ExpertFile,
    /// By which every load is slowed down, to stand for a slower medium.
    pub delay: Duration,
    pub state: Mutex<State>,
    /// Something has come, gone or been asked for.
    pub changed: Condvar,
}

/// Slots and what is to come into them.
#[derive(Debug)]
pub(super) struct State {
    pub core: Core<Arc<Gated>>,
    /// What layers wait for.
    pub demanded: VecDeque<Expert>,
    /// What is to be read ahead, what is needed first first.
    pub wanted: VecDeque<Expert>,
    /// How many layers wait for an expert that has not come.
    pub waiting: BTreeMap<Expert, usize>,
    pub stopped: bool,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is asked for, until it is stopped.
    pub fn serve(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let Some(expert) = state.next() else {
                state = self.wait(state);
                continue;
            };
            drop(state);
            if !self.delay.is_zero() {
                thread::sleep(self.delay);
            }
            let held = Arc::new(self.file.read(expert.layer, expert.index));
            state = self.lock();
            let waiting = state.waiting.remove(&expert).unwrap_or(0);
            state.core.slots.fill(expert, held, waiting);
            self.changed.notify_all();
        }
    }
}

impl State {
    /// What to read next; its slot is kept for it.
    fn next(&mut self) -> Option<Expert> {
        while let Some(&expert) = self.demanded.front() {
            // Another thread asked for it as well.
            if self.core.slots.has(expert) {
                self.demanded.pop_front();
                continue;
            }
            if self.core.reserve_on_demand(expert) {
                self.demanded.pop_front();
                return Some(expert);
            }
            // What is in use leaves soon; what is on its way comes soon.
            return None;
        }
        while let Some(expert) = self.wanted.pop_front() {
            if self.core.reserve_ahead(expert) {
                return Some(expert);
            }
        }
        None
    }
}

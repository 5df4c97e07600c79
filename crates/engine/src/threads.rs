//! The threads that engines run on.

use std::sync::Arc;

use headwise_kernels::{parallel, profile};

use crate::Engine;

impl Engine {
    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` on the engine's threads, which wait for it as a [team](parallel::team).
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(profile::handed(|| parallel::team(work)))
    }

    /// Runs on the threads of `other`, so that both together use no more than one of them does. One that runs alone has them all; if both do,
    /// each goes on with those that the other leaves, and none of its results changes.
    pub fn run_on_threads_of(&mut self, other: &Self) {
        self.threads = other.threads.clone();
    }

    /// Whether both run on the same threads.
    pub fn shares_threads(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.threads, &other.threads)
    }
}

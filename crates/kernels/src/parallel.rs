//! The one seam through which kernels use more than one thread.
//!
//! A kernel states how many independent parts its work has; [`workers`] decides how many threads share them. Results
//! never depend on that number: a part is computed the same way by whichever worker takes it.
//!
//! The workers are the threads of rayon's current pool, so `pool.install(..)` and `RAYON_NUM_THREADS` limit them. Inside
//! [`team`] they are awake already; elsewhere rayon wakes them.

mod ahead;
mod team;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::disjoint::Disjoint;

pub(crate) use ahead::Reading;
pub(crate) use team::reads;
pub use team::team;

/// How many workers there are.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `body(worker, workers)` once per worker, at most `parts` of them, and returns when all have returned.
///
/// A thread that comes late leaves its call to another, so calls must not wait for each other.
pub fn workers(parts: usize, body: impl Fn(usize, usize) + Sync) {
    let workers = parts.min(threads());
    match workers {
        0 => {}
        1 => body(0, 1),
        _ if team::run(workers, &body) => {}
        _ => (0..workers).into_par_iter().with_max_len(1).for_each(|worker| body(worker, workers)),
    }
}

/// Calls `body(part)` for every part, each exactly once; idle workers take the next part, so uneven parts balance.
pub fn parts(parts: usize, body: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    workers(parts, |_, _| {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                break;
            }
            body(part);
        }
    });
}

/// As [`parts`], but each worker begins with a run of neighbouring parts of its own, and helps the others after that.
pub fn runs(parts: usize, body: impl Fn(usize) + Sync) {
    /// More workers than this share runs from the start.
    const MOST_RUNS: usize = 64;
    let count = parts.min(threads()).min(MOST_RUNS);
    let taken = [const { AtomicUsize::new(0) }; MOST_RUNS];
    workers(parts, |worker, _| {
        let own = worker % count;
        for run in (own..count).chain(0..own) {
            let parts = share(parts, run, count);
            while let Some(part) = parts.clone().nth(taken[run].fetch_add(1, Ordering::Relaxed)) {
                body(part);
            }
        }
    });
}

/// Splits `data` into pieces of `length` elements (the last may be shorter) and calls `body(index, piece)` for each.
pub fn pieces<T: Send>(data: &mut [T], length: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    let (total, length) = (data.len(), length.max(1));
    let data = Disjoint::new(data);
    parts(total.div_ceil(length), |index| {
        let start = index * length;
        // SAFETY: a piece ends where the next one starts, and `parts` runs each once.
        body(index, unsafe { data.range(start, length.min(total - start)) });
    });
}

/// The contiguous share of `0..items` that `worker` of `workers` owns; shares differ by at most one item.
pub fn share(items: usize, worker: usize, workers: usize) -> Range<usize> {
    let (each, extra) = (items / workers, items % workers);
    let start = worker * each + worker.min(extra);
    start..start + each + usize::from(worker < extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `way`, given a number of parts and a body, runs each part exactly once.
    fn assert_each_once(way: impl Fn(usize, &(dyn Fn(usize) + Sync))) {
        for count in [0, 1, 2, 3, 17, 1000] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            way(count, &|part| {
                done[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1), "{count} parts");
        }
    }

    #[test]
    fn every_part_runs_exactly_once() {
        assert_each_once(|count, body| parts(count, body));
    }

    #[test]
    fn runs_hold_every_part_once() {
        assert_each_once(|count, body| runs(count, body));
    }

    #[test]
    fn shares_cover_all_items_in_order() {
        for (items, workers) in [(0, 3), (1, 2), (7, 3), (64, 5)] {
            let joined: Vec<usize> = (0..workers).flat_map(|worker| share(items, worker, workers)).collect();
            assert_eq!(joined, (0..items).collect::<Vec<_>>());
        }
    }
}

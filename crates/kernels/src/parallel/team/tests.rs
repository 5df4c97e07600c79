//! Teams of all sizes, with everything that can go wrong in a region.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::super::{parts, pieces, workers};
use super::{ROLE, Role, team};

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// The pools that regions are tried on: alone, as many as processors, and more than those.
const SIZES: [usize; 4] = [1, 2, 3, 8];

/// What `parts` computes, all results visible afterwards without any other synchronisation.
fn check_parts(count: usize, round: usize) {
    let mut results = vec![0; count];
    pieces(&mut results, 3, |piece, out| {
        for (offset, out) in out.iter_mut().enumerate() {
            *out += (piece * 3 + offset) ^ round;
        }
    });
    assert!(results.iter().enumerate().all(|(at, &result)| result == at ^ round), "{count} parts, round {round}");
}

#[test]
fn thousands_of_regions_compute_every_part_once() {
    for threads in SIZES {
        pool(threads).install(|| {
            team(|| (0..5000).for_each(|round| check_parts(1 + round % 40, round)));
        });
    }
}

#[test]
fn each_worker_is_called_once_and_their_number_is_that_of_the_pool() {
    for threads in SIZES {
        pool(threads).install(|| {
            team(|| {
                for _ in 0..300 {
                    let calls: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                    workers(100, |worker, workers| {
                        assert_eq!(workers, threads);
                        calls[worker].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
                }
            });
        });
    }
}

#[test]
fn helpers_take_part() {
    let threads: Mutex<HashSet<ThreadId>> = Mutex::default();
    let start = Instant::now();
    let together = |threads: &Mutex<HashSet<ThreadId>>| threads.lock().expect("no panic").len();
    pool(3).install(|| {
        team(|| {
            while together(&threads) < 3 && start.elapsed() < Duration::from_secs(20) {
                workers(3, |_, _| {
                    threads.lock().expect("no panic").insert(std::thread::current().id());
                    std::thread::sleep(Duration::from_millis(1));
                });
            }
        });
    });
    assert_eq!(together(&threads), 3);
}

#[test]
fn teams_follow_each_other_and_a_nested_one_is_the_outer_one() {
    for threads in SIZES {
        let pool = pool(threads);
        for round in 0..300 {
            pool.install(|| {
                team(|| {
                    check_parts(17, round);
                    team(|| check_parts(9, round));
                    check_parts(17, round);
                });
                check_parts(17, round);
            });
        }
    }
}

#[test]
fn regions_inside_regions_run() {
    for threads in SIZES {
        pool(threads).install(|| {
            team(|| {
                for round in 0..200 {
                    let sum = AtomicUsize::new(0);
                    parts(7, |outer| {
                        check_parts(5, round);
                        team(|| check_parts(6, round));
                        parts(3, |inner| {
                            sum.fetch_add(outer * 3 + inner, Ordering::Relaxed);
                        });
                    });
                    assert_eq!(sum.into_inner(), (0..21).sum());
                }
            });
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_goes_on() {
    for threads in SIZES {
        pool(threads).install(|| {
            team(|| {
                for round in 0..100 {
                    let region = || {
                        parts(20, |part| assert!(part != round % 20, "part {part}"));
                    };
                    let panic = catch_unwind(AssertUnwindSafe(region)).expect_err("one part panics");
                    assert_eq!(*panic.downcast::<String>().expect("a message"), format!("part {}", round % 20));
                    check_parts(30, round);
                }
            });
        });
    }
}

#[test]
fn a_panic_between_regions_ends_the_team() {
    let pool = pool(3);
    for round in 0..50 {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.install(|| {
                team(|| {
                    check_parts(5, round);
                    panic!("between");
                })
            })
        }));
        assert!(panic.is_err());
        pool.install(|| {
            assert!(ROLE.with_borrow(|role| !matches!(role, Role::Leader(_) | Role::Worker)));
            check_parts(5, round);
        });
    }
}

#[test]
fn the_pool_is_usable_between_and_inside_regions() {
    for threads in SIZES {
        pool(threads).install(|| {
            team(|| {
                for round in 0..100 {
                    let sum: usize = (0..1000usize).into_par_iter().map(|x| x ^ round).sum();
                    assert_eq!(sum, (0..1000).map(|x| x ^ round).sum());
                    parts(4, |_| {
                        let (a, b) = rayon::join(|| round + 1, || round + 2);
                        assert_eq!((a, b), (round + 1, round + 2));
                    });
                    // Regions of a closure that rayon may move to a helper.
                    (0..4usize).into_par_iter().for_each(|_| check_parts(12, round));
                }
            });
        });
    }
}

#[test]
fn helpers_do_other_work_of_the_pool_while_they_wait() {
    let pool = pool(2);
    let start = Instant::now();
    let done = AtomicUsize::new(0);
    pool.install(|| {
        team(|| {
            check_parts(4, 0);
            rayon::scope(|scope| {
                scope.spawn(|_| {
                    done.store(1, Ordering::Release);
                });
                // The leader does not look for work here, so it is the helper that has to.
                while done.load(Ordering::Acquire) == 0 && start.elapsed() < Duration::from_secs(20) {
                    std::thread::yield_now();
                }
                assert_eq!(done.load(Ordering::Acquire), 1);
            });
        });
    });
}

#[test]
fn helpers_that_have_left_come_back() {
    pool(2).install(|| {
        team(|| {
            for round in 0..200 {
                check_parts(8, round);
                // Around the time after which helpers leave.
                std::thread::sleep(Duration::from_micros(round as u64 % 80));
            }
        });
    });
}

#[test]
fn several_teams_of_one_pool_run_at_the_same_time() {
    for threads in [2, 3] {
        let pool = pool(threads);
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..200 {
                        pool.install(|| team(|| (0..10).for_each(|region| check_parts(11, caller + round + region))));
                    }
                });
            }
        });
    }
}

#[test]
fn a_team_outside_a_pool_is_a_call() {
    assert!(team(|| ROLE.with_borrow(|role| matches!(role, Role::Free))));
    team(|| check_parts(50, 1));
}

//! Answers that end for their time, wherever they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::memory::Growth;
use super::super::tests::{Heard, engine, request, run, text};
use super::super::{CacheUsage, Event, Finish, Request, ScheduleLimits, Scheduler};
use crate::Sampler;
use crate::cache::CachePolicy;

/// The time of a request that has one, and a moment at which it is over. Nothing here takes as long.
const TIME: Duration = Duration::from_secs(500);

fn later() -> Instant {
    Instant::now() + 2 * TIME
}

fn limited(prompt: Vec<u32>, tokens: usize) -> (Request, Arc<Heard>) {
    let (request, heard) = request(prompt, "full", tokens);
    (Request { time: Some(TIME), ..request }, heard)
}

/// Why the answers that have ended did, and what they cost.
fn ends(heard: &Heard) -> Vec<(usize, Finish, CacheUsage)> {
    let events = heard.events.lock().unwrap();
    let end = |event: &Event| match event {
        Event::End { answer, finish, usage, .. } => Some((*answer, *finish, *usage)),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

#[test]
fn an_answer_ends_with_what_it_has_and_others_go_on() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (whole, all) = request(text(90, 1), "full", 60);
    let (timed, cut) = limited(text(90, 1), 60);
    scheduler.submit(whole);
    scheduler.submit(timed);
    while cut.tokens(0).len() < 5 {
        scheduler.step();
    }
    let before = cut.tokens(0);
    scheduler.step_at(later());
    let [(0, Finish::Time, usage)] = ends(&cut)[..] else { panic!("{:?}", cut.events) };
    assert!(usage.tokens > 90 && usage.bytes > 0, "{usage:?}");
    assert_eq!((scheduler.counters().timed_out, scheduler.counters().writing), (1, 1));
    run(&mut scheduler);
    assert_eq!(cut.tokens(0), before);
    let [(0, Finish::Length, _)] = ends(&all)[..] else { panic!("{:?}", all.events) };
    assert_eq!(all.tokens(0)[..before.len()], before);
    assert_eq!((all.tokens(0).len(), scheduler.counters().text_bytes), (60, 0));
}

#[test]
fn whoever_waits_too_long_is_refused_with_the_seconds() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { texts: 1, ..ScheduleLimits::default() });
    let (first, written) = request(text(50, 1), "full", 20);
    let (second, refused) = limited(text(50, 2), 20);
    scheduler.submit(first);
    scheduler.submit(second);
    scheduler.step();
    assert_eq!(refused.failure(), None);
    scheduler.step_at(later());
    assert!(refused.failure().is_some_and(|failure| failure.contains("waited for 500 s")), "{:?}", refused.events);
    run(&mut scheduler);
    assert_eq!((written.tokens(0).len(), refused.ends(), scheduler.counters().timed_out), (20, 0, 1));
}

#[test]
fn a_prompt_that_is_not_read_in_time_ends_every_answer_to_it() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { rows_alone: 64, ..ScheduleLimits::default() });
    let (request, heard) = limited(text(400, 3), 20);
    scheduler.submit(Request { samplers: vec![Sampler::greedy(); 3], ..request });
    scheduler.step();
    scheduler.step_at(later());
    let found: Vec<(usize, Finish)> = ends(&heard).iter().map(|(answer, finish, _)| (*answer, *finish)).collect();
    assert_eq!(found, [(0, Finish::Time), (1, Finish::Time), (2, Finish::Time)]);
    assert!(scheduler.idle() && heard.tokens(0).is_empty());
}

#[test]
fn an_answer_that_had_to_make_room_keeps_what_it_has() {
    let engine = engine();
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    let bytes = 2 * (growth.of(256) + growth.next());
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { bytes, prefix_bytes: 0, ..ScheduleLimits::default() });
    let (first, _) = request(text(100, 1), "full", 300);
    let (second, cut) = limited(text(100, 2), 300);
    scheduler.submit(first);
    scheduler.submit(second);
    while scheduler.counters().preemptions == 0 {
        scheduler.step();
    }
    let written = cut.tokens(0);
    scheduler.step_at(later());
    let [(0, Finish::Time, usage)] = ends(&cut)[..] else { panic!("{:?}", cut.events) };
    assert!(written.len() > 50 && usage.tokens >= 99 + written.len() && usage.peak_bytes > 0, "{usage:?}");
    run(&mut scheduler);
    assert_eq!((cut.tokens(0), cut.ends()), (written, 1));
}

#[test]
fn free_memory_and_the_caches_of_policies_are_told() {
    let engine = engine();
    let limits = ScheduleLimits { prefix_bytes: 0, ..ScheduleLimits::default() };
    let mut scheduler = Scheduler::new(&engine, limits);
    assert_eq!(scheduler.counters().free_bytes, limits.bytes);
    scheduler.submit(request(text(100, 1), "snapkv(budget=64) + int8", 20).0);
    scheduler.submit(request(text(100, 2), "full", 20).0);
    while scheduler.counters().writing < 2 {
        scheduler.step();
    }
    let counters = scheduler.counters();
    let caches: Vec<(String, usize)> = scheduler.caches().map(|(policy, bytes)| (policy.to_string(), bytes)).collect();
    assert_eq!(caches[0].0, "snapkv(budget=64) + int8");
    assert!(caches.iter().all(|(_, bytes)| *bytes > 0), "{caches:?}");
    assert_eq!(caches.iter().map(|(_, bytes)| bytes).sum::<usize>(), counters.text_bytes);
    assert!(counters.free_bytes + counters.text_bytes <= limits.bytes);
    run(&mut scheduler);
    assert_eq!((scheduler.counters().free_bytes, scheduler.caches().count()), (limits.bytes, 0));
}

//! Answers that are searched for beside others: each is what is found alone, in memory that was reserved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::memory::Growth;
use super::super::tests::{Heard, alone, random, request, run, text};
use super::super::{CacheUsage, Event, Finish, Request, ScheduleLimits, Scheduler};
use crate::cache::CachePolicy;
use crate::{Engine, Generation, Opera, Sampler};

/// One that goes back now and then.
fn opera() -> Opera {
    Opera { beams: 3, candidates: 2, first: 1, repeats: 1, scale: 130.0, alpha: 0.0, ..Opera::default() }
}

fn searched(prompt: Vec<u32>, policy: &str, tokens: usize) -> (Request, Arc<Heard>) {
    let (request, heard) = request(prompt, policy, tokens);
    (Request { search: Some(opera()), ..request }, heard)
}

/// The best answer without a scheduler, and how often all beams went back.
fn found(engine: &Engine, prompt: &[u32], policy: &str, tokens: usize) -> (Vec<u32>, usize) {
    let (policy, generation) = (CachePolicy::parse(policy).unwrap(), Generation { tokens, stop: Vec::new() });
    let found = opera().search(engine, &policy, prompt, 0..prompt.len(), &generation, |_| {}).unwrap();
    (found.answers[0].ids.clone(), found.rollbacks)
}

fn end(heard: &Heard) -> Option<(Finish, CacheUsage)> {
    let events = heard.events.lock().unwrap();
    let end = |event: &Event| if let Event::End { finish, usage, .. } = event { Some((*finish, *usage)) } else { None };
    events.iter().find_map(end)
}

#[test]
fn what_is_found_beside_others_is_what_is_found_alone() {
    let engine = random(2);
    let other = text(90, 2);
    let goes_back = |prompt: &Vec<u32>| found(&engine, prompt, "full", 24).1 > 0;
    let prompt = (0..40).map(|seed| text(130, seed)).find(goes_back).expect("a prompt behind which beams go back");
    let written = alone(&engine, &other, "full", 40);
    let expected = [found(&engine, &prompt, "full", 24).0, found(&engine, &prompt, "int8", 24).0];
    // As much as there may be, and room for one search at a time.
    let (asked, _) = searched(prompt.clone(), "full", 24);
    let growth = Growth::of_request(engine.spec(), &asked);
    let one = growth.of(prompt.len() + 24) + 2 * growth.next();
    for (bytes, prefix_bytes) in [(usize::MAX, 1 << 30), (one, 0)] {
        let mut scheduler =
            Scheduler::new(&engine, ScheduleLimits { bytes, prefix_bytes, ..ScheduleLimits::default() });
        for round in 0..2 {
            let (ordinary, all) = request(other.clone(), "full", 40);
            let searches = ["full", "int8"].map(|policy| searched(prompt.clone(), policy, 24));
            scheduler.submit(ordinary);
            let heard = searches.map(|(request, heard)| {
                scheduler.submit(request);
                heard
            });
            run(&mut scheduler);
            assert_eq!(all.tokens(0), written);
            for (heard, expected) in heard.iter().zip(&expected) {
                assert_eq!((heard.failure(), &heard.tokens(0)), (None, expected));
                let (finish, usage) = end(heard).unwrap();
                assert_eq!((finish, usage.tokens), (Finish::Length, prompt.len() + expected.len()));
                assert!(usage.bytes <= usage.peak_bytes && usage.peak_bytes <= one, "{usage:?} of {one}");
                // What was read is there for the next one.
                assert_eq!(heard.cached() > 0, round > 0 && prefix_bytes > 0);
            }
            assert_eq!(scheduler.counters().text_bytes, 0);
        }
    }
}

#[test]
fn a_search_ends_with_the_best_so_far_and_nobody_waits_for_one_that_is_gone() {
    let engine = random(2);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let time = Duration::from_secs(500);
    let (request, cut) = searched(text(100, 3), "full", 400);
    scheduler.submit(Request { time: Some(time), ..request });
    let (request, left) = searched(text(100, 4), "full", 400);
    scheduler.submit(request);
    for _ in 0..12 {
        scheduler.step();
    }
    assert_eq!((cut.tokens(0).len(), scheduler.counters().writing), (0, 2));
    assert!(scheduler.counters().text_bytes > 0);
    left.leave();
    scheduler.step_at(Instant::now() + 2 * time);
    assert!(scheduler.idle() && end(&left).is_none());
    assert!(matches!(end(&cut), Some((Finish::Time, _))) && !cut.tokens(0).is_empty());
    assert_eq!((scheduler.counters().cancelled, scheduler.counters().timed_out), (1, 1));
}

#[test]
fn what_cannot_be_searched_for_is_refused() {
    let engine = random(2);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { bytes: 64 << 20, ..ScheduleLimits::default() });
    let mut refused = |policy: &str, change: &dyn Fn(&mut Request)| {
        let (mut request, heard) = searched(text(60, 5), policy, 20);
        change(&mut request);
        scheduler.submit(request);
        heard.failure().unwrap_or_default()
    };
    for (policy, said) in [("snapkv(keep=0.5)", "snapkv"), ("quest", "quest"), ("gemfilter(keep=0.5)", "reads a part")]
    {
        let failure = refused(policy, &|_| {});
        assert!(failure.contains(said), "{policy}: {failure}");
    }
    assert!(refused("full", &|request| request.samplers = vec![Sampler::greedy(); 2]).contains("several answers"));
    assert!(refused("full", &|request| request.likeliest = Some(1)).contains("log-probabilities"));
    let many = |request: &mut Request| request.search = Some(Opera { beams: usize::MAX, ..opera() });
    assert!(refused("full", &many).contains("MB"));
    let none = |request: &mut Request| request.search = Some(Opera { beams: 0, ..opera() });
    assert!(refused("full", &none).contains("at least 1"));
    assert!(scheduler.idle());
}

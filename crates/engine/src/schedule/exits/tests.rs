//! Answers whose tokens leave early, and prompts with segments, beside others: each as it is written alone.

use std::sync::Arc;

use super::super::tests::{self, Heard, random, request, run, text};
use super::super::{Event, Growth, Request, ScheduleLimits, Scheduler};
use crate::cache::CachePolicy;
use crate::pine::{Pine, SegmentPositions, SegmentedText};
use crate::{EarlyExit, Engine, Generation, Sampler, generate};

fn policy(text: &str) -> CachePolicy {
    CachePolicy::parse(text).unwrap()
}

/// Exits that the tokens of a short text take after different layers.
fn exits(engine: &Engine) -> EarlyExit {
    let exit = |step: i32| EarlyExit { layer: 1, confidence: 0.9f64.powi(step), every: 1 };
    let spreads = |exit: &EarlyExit| (1.5..3.5).contains(&alone(engine, exit, &text(90, 0), "full", 60).1);
    (1..60).map(exit).find(spreads).expect("a confidence that some tokens have early")
}

fn leaving(exit: &EarlyExit, prompt: Vec<u32>, cache: &str, tokens: usize) -> (Request, Arc<Heard>) {
    let (request, heard) = request(prompt, cache, tokens);
    (Request { exit: Some(exit.clone()), ..request }, heard)
}

/// The tokens and the layers of an answer that is written alone.
fn alone(engine: &Engine, exit: &EarlyExit, prompt: &[u32], cache: &str, tokens: usize) -> (Vec<u32>, f64) {
    let mut sequence = engine.sequence(&policy(cache)).unwrap();
    let generation = Generation { tokens, stop: Vec::new() };
    let mut sampler = Sampler::greedy();
    let found = exit.generate(engine, &mut sequence, prompt, &generation, &mut sampler, |_| true).unwrap();
    (found.ids.clone(), found.mean_layers())
}

fn ordinary(engine: &Engine, prompt: &[u32], tokens: usize) -> Vec<u32> {
    tests::alone(engine, prompt, "full", tokens)
}

/// Room for two texts of `tokens` only.
fn tight(engine: &Engine, tokens: usize) -> ScheduleLimits {
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    ScheduleLimits { bytes: 2 * (growth.of(tokens) + growth.next()), prefix_bytes: 0, ..ScheduleLimits::default() }
}

/// Runs what is `asked` beside an ordinary text of `tokens` more; what both heard.
fn run_beside(
    scheduler: &mut Scheduler<'_>,
    asked: Vec<(Request, Arc<Heard>)>,
    prompt: Vec<u32>,
    tokens: usize,
) -> (Vec<Arc<Heard>>, Arc<Heard>) {
    let (beside, heard_beside) = request(prompt, "full", tokens);
    let (requests, heard): (Vec<Request>, Vec<Arc<Heard>>) = asked.into_iter().unzip();
    requests.into_iter().chain([beside]).for_each(|request| scheduler.submit(request));
    run(scheduler);
    (heard, heard_beside)
}

fn layers(heard: &Heard) -> Option<f64> {
    let events = heard.events.lock().unwrap();
    events.iter().find_map(|event| if let Event::End { layers, .. } = event { *layers } else { None })
}

#[test]
fn tokens_leave_as_they_do_alone_whatever_room_there_is() {
    let engine = random(4);
    let exit = exits(&engine);
    let prompts: Vec<Vec<u32>> = (0..4).map(|seed| text(90 + 31 * seed, seed as u32)).collect();
    for limits in [ScheduleLimits::default(), tight(&engine, 400)] {
        let mut scheduler = Scheduler::new(&engine, limits);
        let caches = ["full", "int8", "kivi4", "full"];
        let asked: Vec<_> =
            prompts.iter().zip(caches).map(|(prompt, cache)| leaving(&exit, prompt.clone(), cache, 150)).collect();
        let (heard, heard_beside) = run_beside(&mut scheduler, asked, prompts[0].clone(), 150);
        for ((prompt, cache), heard) in prompts.iter().zip(caches).zip(&heard) {
            let (ids, mean) = alone(&engine, &exit, prompt, cache, 150);
            assert_eq!(heard.tokens(0), ids, "{cache}");
            assert!(mean > 1.0 && mean < 4.0, "{cache}: all tokens pass as many layers, which shows little");
            assert_eq!(layers(heard).unwrap(), mean, "{cache}");
        }
        assert_eq!(heard_beside.tokens(0), ordinary(&engine, &prompts[0], 150));
        assert_eq!(layers(&heard_beside), None);
        assert!(limits == ScheduleLimits::default() || scheduler.counters().preemptions > 0);
    }
}

#[test]
fn what_left_early_is_nothing_to_go_on_from() {
    let engine = random(4);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let prompt = text(200, 9);
    let (request_leaving, heard) = leaving(&exits(&engine), prompt.clone(), "full", 100);
    scheduler.submit(request_leaving);
    run(&mut scheduler);
    let longer = [&prompt[..], &heard.tokens(0)].concat();
    let (later, heard) = request(longer.clone(), "full", 8);
    scheduler.submit(later);
    run(&mut scheduler);
    assert_eq!(heard.tokens(0), ordinary(&engine, &longer, 8));
    assert!((100..=200).contains(&heard.cached()), "the prompt is, and no more: {}", heard.cached());
}

#[test]
fn exits_that_cannot_be_are_refused() {
    let engine = random(4);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (wrong, heard) = leaving(&EarlyExit::default(), text(40, 1), "h2o(budget=64)", 4);
    scheduler.submit(wrong);
    assert!(heard.failure().unwrap().contains("only stores"));
    let (wrong, heard) = request(text(40, 1), "full", 4);
    scheduler.submit(Request { exit: Some(EarlyExit { layer: 9, ..EarlyExit::default() }), ..wrong });
    assert!(heard.failure().unwrap().contains("layer=9"));
    assert!(scheduler.idle());
}

fn segmented(seed: u32, turned: bool) -> SegmentedText {
    let mut segments: Vec<Vec<u32>> = [70, 33, 5].map(|length| text(length, seed + length as u32)).into();
    if turned {
        segments.rotate_left(1);
    }
    SegmentedText { prefix: text(20, seed), segments, suffix: text(90, seed + 1) }
}

fn with_segments(text: &SegmentedText, cache: &str, tokens: usize) -> (Request, Arc<Heard>) {
    let (request, heard) = request(text.ids(), cache, tokens);
    (Request { segments: Some(Arc::new(text.clone())), ..request }, heard)
}

#[test]
fn segments_are_read_as_alone_in_any_order() {
    let engine = random(4);
    let written = |text: &SegmentedText, cache: &str| {
        let mut sequence = engine.sequence(&policy(cache)).unwrap();
        let ids = SegmentPositions::from(Pine {}).begin(&engine, &mut sequence, text).unwrap();
        let generation = Generation { tokens: 100, stop: Vec::new() };
        generate(&engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
    };
    for limits in [ScheduleLimits::default(), tight(&engine, 600)] {
        let mut scheduler = Scheduler::new(&engine, limits);
        let texts = [segmented(1, false), segmented(1, true), segmented(7, false), segmented(7, true)];
        let caches = ["full", "full", "int8", "kivi4"];
        let asked: Vec<_> = texts.iter().zip(caches).map(|(text, cache)| with_segments(text, cache, 100)).collect();
        let (heard, heard_beside) = run_beside(&mut scheduler, asked, texts[0].ids(), 100);
        for ((text, cache), heard) in texts.iter().zip(caches).zip(&heard) {
            assert_eq!(heard.tokens(0), written(text, cache), "{cache}");
            assert_eq!(heard.cached(), 0, "what has a set is not gone on from");
        }
        assert_eq!(heard[0].tokens(0), heard[1].tokens(0), "the order changes nothing");
        assert_eq!(heard_beside.tokens(0), ordinary(&engine, &texts[0].ids(), 100));
        let events = heard[0].events.lock().unwrap();
        let evicted = events
            .iter()
            .find_map(|event| if let Event::End { usage, .. } = event { Some(usage.evicted) } else { None });
        assert_eq!(evicted, Some(0.0), "segments are held elsewhere, not let go");
        assert!(limits == ScheduleLimits::default() || scheduler.counters().preemptions > 0);
    }
}

#[test]
fn memory_of_segments_is_foreseen() {
    let engine = random(4);
    for text in [segmented(3, false), SegmentedText { segments: vec![vec![1]; 40], ..segmented(3, false) }] {
        let (request, _) = with_segments(&text, "full", 1);
        let mut sequence = engine.sequence(&request.policy).unwrap();
        let ids = SegmentPositions::from(Pine {}).begin(&engine, &mut sequence, &text).unwrap();
        engine.prefill(&mut sequence, &ids, |_| {}).unwrap();
        let (held, foreseen) =
            (sequence.peak_bytes(), Growth::of_request(engine.spec(), &request).of(text.ids().len()));
        assert!(held <= foreseen && foreseen < 3 * held, "{held} bytes, {foreseen} foreseen");
    }
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let engine = random(4);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (wrong, heard) = with_segments(&segmented(1, false), "snapkv(budget=64)", 4);
    scheduler.submit(wrong);
    assert!(heard.failure().unwrap().contains("cannot hold a set of segments"));
    assert!(scheduler.idle());
}

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use headwise_models::decoder::{Decoder, Induction, Weights};
use headwise_spec::Family;
use proptest::prelude::*;

use super::prefix::left_to_read;
use super::*;
use crate::cache::{CacheMethod, CachePolicy};
use crate::kvcomm::{Parts, Slot};
use crate::{Generation, Sampler, generate};

pub(super) fn engine() -> Engine {
    Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 2).unwrap()
}

/// A random model of `layers` layers.
pub(super) fn random(layers: usize) -> Engine {
    let layer = "[[layers]]\nmixer = \"softmax(heads=4, kv_heads=2)\"\nchannel = \"gated(hidden=64)\"\n";
    let spec = format!("vocabulary = 256\ndim = 64\ncontext = 2048\nepsilon = 1e-6\n{}", layer.repeat(layers));
    let device = Device::flex();
    device.seed(5);
    Engine::new(Decoder::random(toml::from_str(&spec).unwrap(), &device).unwrap(), 2).unwrap()
}

pub(super) fn text(length: usize, seed: u32) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 16) % 255
    };
    std::iter::once(Induction::START).chain((1..length).map(|_| next())).collect()
}

/// Remembers what it is told.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Mutex<Vec<Event>>,
    gone: AtomicBool,
}

impl Listener for Heard {
    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Heard {
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(super) fn tokens(&self, wanted: usize) -> Vec<u32> {
        let events = self.events.lock().unwrap();
        let token = |event: &Event| match event {
            Event::Token { answer, id, .. } if *answer == wanted => Some(*id),
            _ => None,
        };
        events.iter().filter_map(token).collect()
    }

    pub(super) fn cached(&self) -> usize {
        let events = self.events.lock().unwrap();
        let cached = |event: &Event| if let Event::Begun { cached, .. } = event { Some(*cached) } else { None };
        events.iter().find_map(cached).unwrap()
    }

    pub(super) fn ends(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|event| matches!(event, Event::End { .. })).count()
    }

    pub(super) fn failure(&self) -> Option<String> {
        let events = self.events.lock().unwrap();
        events.iter().find_map(|event| if let Event::Failed(error) = event { Some(error.to_string()) } else { None })
    }
}

pub(super) fn request(prompt: Vec<u32>, policy: &str, tokens: usize) -> (Request, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let policy = CachePolicy::parse(policy).unwrap();
    (Request::greedy(prompt, policy, tokens, heard.clone()), heard)
}

/// What is written without a scheduler.
pub(super) fn alone(engine: &Engine, prompt: &[u32], policy: &str, tokens: usize) -> Vec<u32> {
    let mut sequence = engine.sequence(&CachePolicy::parse(policy).unwrap()).unwrap();
    let generation = Generation { tokens, stop: Vec::new() };
    generate(engine, &mut sequence, prompt, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
}

pub(super) fn run(scheduler: &mut Scheduler<'_>) {
    let mut steps = 0;
    while !scheduler.idle() {
        scheduler.step();
        steps += 1;
        assert!(steps < 20_000, "no end: {:?}", scheduler.counters());
    }
}

fn policies() -> Vec<String> {
    let parts = ["adakv", "uncomp_groups", "uncomp_stages", "act"];
    let alone = CacheMethod::NAMES.iter().filter(|name| !parts.contains(name));
    let named = alone.map(|name| match CachePolicy::parse(&format!("{name}(keep=0.25)")) {
        Ok(policy) => policy.to_string(),
        Err(_) => (*name).to_owned(),
    });
    let more = [
        "snapkv(keep=0.25, when=chunk)",
        "quest(budget=96, dense_layers=0)",
        "token_select(budget=200)",
        "hip(budget=300, dense_layers=0)",
        "adakv + pyramidkv(keep=0.25, window=16)",
        "snapkv(budget=64) + int8",
    ];
    named.chain(more.map(Into::into)).collect()
}

/// A model of layers that attend and layers that keep a state.
fn hybrid() -> Engine {
    let layers: String = ["softmax(heads=2)", "gla(heads=2, convolution=3)", "retention(heads=2)"]
        .map(|mixer| format!("[[layers]]\nmixer = \"{mixer}\"\nchannel = \"gated(hidden=32)\"\n"))
        .concat();
    let spec =
        toml::from_str(&format!("vocabulary = 256\ndim = 32\ncontext = 2048\nepsilon = 1e-6\n{layers}")).unwrap();
    let device = Device::flex();
    device.seed(3);
    Engine::new(Decoder::random(spec, &device).unwrap(), 2).unwrap()
}

#[test]
fn texts_with_states_are_written_as_alone_found_again_and_read_anew() {
    let engine = hybrid();
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    let prompts: Vec<Vec<u32>> = (0..6).map(|seed| text(150 + 37 * seed, seed as u32)).collect();
    let expected: Vec<Vec<u32>> = prompts.iter().map(|prompt| alone(&engine, prompt, "full", 40)).collect();
    // Room for two texts: others wait, or make room and are read anew.
    for bytes in [usize::MAX, 2 * growth.of(420)] {
        let limits = ScheduleLimits { rows_beside: 24, bytes, waiting: 100, ..ScheduleLimits::default() };
        let mut scheduler = Scheduler::new(&engine, limits);
        for round in 0..2 {
            let submitted = prompts.iter().map(|prompt| {
                let (request, heard) = request(prompt.clone(), "full", 40);
                scheduler.submit(request);
                heard
            });
            let heard: Vec<Arc<Heard>> = submitted.collect();
            run(&mut scheduler);
            for ((heard, expected), prompt) in heard.iter().zip(&expected).zip(&prompts) {
                assert_eq!(&heard.tokens(0), expected, "{bytes} bytes, round {round}");
                if (round, bytes) == (1, usize::MAX) {
                    assert_eq!(heard.cached(), prompt.len() - 1, "all but the token whose scores are wanted");
                }
            }
        }
    }
}

#[test]
fn every_policy_writes_what_it_writes_alone_and_the_same_again() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { rows_beside: 40, ..ScheduleLimits::default() });
    for (index, policy) in policies().iter().enumerate() {
        let prompts = [text(700, index as u32), text(90, 77)];
        let expected = prompts.clone().map(|prompt| alone(&engine, &prompt, policy, 24));
        for round in 0..2 {
            let heard = prompts.clone().map(|prompt| {
                let (request, heard) = request(prompt, policy, 24);
                scheduler.submit(request);
                // The next one begins beside a text that is being read or written.
                (0..3).for_each(|_| scheduler.step());
                heard
            });
            run(&mut scheduler);
            for ((heard, expected), prompt) in heard.iter().zip(&expected).zip(&prompts) {
                assert_eq!(heard.failure(), None, "{policy}");
                assert_eq!(&heard.tokens(0), expected, "{policy}, {} tokens, round {round}", prompt.len());
                assert_eq!(heard.ends(), 1);
                let parsed = CachePolicy::parse(policy).unwrap();
                if round == 1 && parsed.reads_in_any_chunks() {
                    assert_eq!(heard.cached() + left_to_read(&parsed).min(prompt.len()), prompt.len(), "{policy}");
                }
            }
        }
    }
    let counters = scheduler.counters();
    assert_eq!((counters.reading, counters.writing, counters.text_bytes), (0, 0, 0));
}

#[test]
fn a_text_never_needs_more_than_was_reserved_for_it() {
    let engine = engine();
    for policy in policies() {
        let parsed = CachePolicy::parse(&policy).unwrap();
        let growth = Growth::new(engine.spec(), &parsed);
        let mut sequence = engine.sequence(&parsed).unwrap();
        engine.prefill(&mut sequence, &text(700, 1), |_| {}).unwrap();
        for &id in &text(80, 2) {
            engine.step(&mut sequence, id).unwrap();
        }
        let (peak, reserved) = (sequence.peak_bytes(), growth.of(780) + growth.next());
        assert!(peak <= reserved, "{policy}: {peak} bytes, {reserved} reserved");
    }
}

#[test]
fn later_turns_begin_with_the_answers_before() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (first, heard) = request(text(100, 3), "full", 20);
    let mut turn = first.prompt.clone();
    scheduler.submit(first);
    run(&mut scheduler);
    turn.extend(heard.tokens(0));
    turn.extend(text(30, 4));
    let (second, heard) = request(turn.clone(), "snapkv(keep=0.5)", 20);
    scheduler.submit(second);
    run(&mut scheduler);
    // The last token of the answer has not been read; the policy wants the queries of the last 64.
    assert_eq!(heard.cached(), 150 - 64);
    assert_eq!(heard.tokens(0), alone(&engine, &turn, "snapkv(keep=0.5)", 20));
}

#[test]
fn answers_to_one_prompt_read_it_once() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (mut several, heard) = request(text(200, 5), "full", 16);
    several.samplers = (0..3).map(|seed| Sampler::new(1.5, 0, 1.0, seed)).collect();
    let samplers = several.samplers.clone();
    scheduler.submit(several);
    run(&mut scheduler);
    assert_eq!(scheduler.counters().prompt_tokens, 200);
    assert_eq!(heard.ends(), 3);
    for (answer, mut sampler) in samplers.into_iter().enumerate() {
        let mut sequence = engine.sequence(&CachePolicy::full()).unwrap();
        let generation = Generation { tokens: 16, stop: Vec::new() };
        let ids = generate(&engine, &mut sequence, &text(200, 5), &generation, &mut sampler, |_| true).unwrap().ids;
        assert_eq!(heard.tokens(answer), ids, "answer {answer}");
    }
}

#[test]
fn who_is_gone_leaves_no_memory() {
    let engine = engine();
    let limits = ScheduleLimits { prefix_bytes: 0, ..ScheduleLimits::default() };
    let mut scheduler = Scheduler::new(&engine, limits);
    let (long, left) = request(text(900, 6), "full", 500);
    let (short, stayed) = request(text(60, 7), "h2o(budget=32)", 30);
    scheduler.submit(long);
    scheduler.submit(short);
    (0..30).for_each(|_| scheduler.step());
    assert!(!left.tokens(0).is_empty());
    left.gone.store(true, Ordering::Relaxed);
    run(&mut scheduler);
    let counters = scheduler.counters();
    assert_eq!((counters.cancelled, counters.text_bytes, counters.prefix_bytes), (1, 0, 0));
    assert_eq!(stayed.tokens(0), alone(&engine, &text(60, 7), "h2o(budget=32)", 30));
}

#[test]
fn refused_requests_say_why() {
    let engine = engine().with_context(1000);
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    let limits = ScheduleLimits { bytes: growth.of(500), waiting: 1, ..ScheduleLimits::default() };
    let mut scheduler = Scheduler::new(&engine, limits);
    let mut refusal = |prompt: Vec<u32>, tokens: usize| {
        let (request, heard) = request(prompt, "full", tokens);
        scheduler.submit(request);
        heard.failure().unwrap_or_default()
    };
    assert!(refusal(vec![], 5).contains("at least one token"));
    assert!(refusal(vec![9999], 5).contains("9999"));
    assert!(refusal(text(1001, 1), 5).contains("1001 tokens do not fit"));
    assert!(refusal(text(5, 1), 0).contains("at least one token"));
    assert!(refusal(text(450, 1), 100).contains("--kv-mem"));
    assert_eq!(refusal(text(50, 1), 5), "");
    assert!(refusal(text(50, 1), 5).contains("1 requests wait"));
}

#[test]
fn the_context_ends_a_text() {
    let engine = engine().with_context(100);
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (request, heard) = request(text(90, 1), "full", 500);
    scheduler.submit(request);
    run(&mut scheduler);
    assert_eq!(heard.tokens(0), alone(&engine, &text(90, 1), "full", 500));
    assert_eq!(heard.ends(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_tiny_pool_is_never_exceeded_and_everything_ends(
        sizes in prop::collection::vec((1..150usize, 1..60usize, 0..4usize, any::<bool>()), 1..12),
        spare in 0..200usize,
    ) {
        let engine = engine();
        let policies = ["full", "snapkv(budget=32)", "h2o(keep=0.5)", "int8"];
        let longest = sizes.iter().map(|(prompt, tokens, ..)| prompt + tokens).max().unwrap();
        let most = |policy: &str| {
            let growth = Growth::new(engine.spec(), &CachePolicy::parse(policy).unwrap());
            growth.of(longest) + growth.next() + growth.of(spare)
        };
        let bytes = policies.iter().map(|policy| most(policy)).max().unwrap();
        let limits = ScheduleLimits { bytes, prefix_bytes: bytes, ..ScheduleLimits::default() };
        let mut scheduler = Scheduler::new(&engine, limits);
        let mut all = Vec::new();
        for (index, &(prompt, tokens, policy, again)) in sizes.iter().enumerate() {
            let prompt = text(prompt, if again { 1 } else { index as u32 });
            let (request, heard) = request(prompt.clone(), policies[policy], tokens);
            scheduler.submit(request);
            all.push((heard, prompt, policies[policy], tokens));
        }
        let mut steps = 0;
        while !scheduler.idle() {
            scheduler.step();
            steps += 1;
            prop_assert!(steps < 20_000, "no end: {:?}", scheduler.counters());
            // Pages that texts share with each other or with earlier prompts count once.
            let (mut own, mut seen) = (0, HashSet::new());
            for Text { sequence, .. } in &scheduler.texts {
                let shared = |&(page, _): &(usize, usize)| scheduler.prefix.holds(page) || !seen.insert(page);
                let shared: usize = sequence.pages().filter(shared).map(|(_, bytes)| bytes).sum();
                own += sequence.bytes().total() - shared;
            }
            let kept = scheduler.prefix.bytes();
            prop_assert!(own + kept <= bytes, "{own} of texts and {kept} of earlier prompts, of {bytes}");
        }
        for (heard, prompt, policy, tokens) in all {
            prop_assert_eq!(heard.failure(), None);
            prop_assert_eq!(heard.tokens(0), alone(&engine, &prompt, policy, tokens), "{}, {} tokens", policy, prompt.len());
        }
    }
}

#[test]
fn texts_that_grow_too_far_together_make_room_and_come_back() {
    let engine = engine();
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    let limits = ScheduleLimits { bytes: growth.of(400) * 2, ..ScheduleLimits::default() };
    for policy in ["full", "tova(budget=100)"] {
        let mut scheduler = Scheduler::new(&engine, limits);
        let requests: Vec<_> = (0..4).map(|seed| request(text(150, seed), policy, 200)).collect();
        let heard: Vec<_> = requests.iter().map(|(_, heard)| heard.clone()).collect();
        requests.into_iter().for_each(|(request, _)| scheduler.submit(request));
        run(&mut scheduler);
        assert!(policy != "full" || scheduler.counters().preemptions > 0);
        for (seed, heard) in heard.iter().enumerate() {
            assert_eq!(heard.tokens(0), alone(&engine, &text(150, seed as u32), policy, 200), "{policy} {seed}");
        }
    }
}

#[test]
fn a_beginning_is_read_once_for_all_who_come_together() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { rows_alone: 64, ..ScheduleLimits::default() });
    let beginning = text(400, 11);
    let prompts: Vec<Vec<u32>> = (0..6).map(|seed| [&beginning[..], &text(40, seed)[1..]].concat()).collect();
    let all: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            let (request, heard) = request(prompt.clone(), "full", 8);
            scheduler.submit(request);
            heard
        })
        .collect();
    run(&mut scheduler);
    for (prompt, heard) in prompts.iter().zip(&all) {
        assert_eq!(heard.tokens(0), alone(&engine, prompt, "full", 8));
    }
    let read = scheduler.counters().prompt_tokens;
    assert!(read < 400 + 6 * (39 + 64), "{read} tokens were read");
}

#[test]
fn what_was_read_of_a_prompt_is_there_before_its_end() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits { rows_alone: 64, ..ScheduleLimits::default() });
    let beginning = text(400, 11);
    let [long, short] = [300, 40].map(|length| [&beginning[..], &text(length, length as u32)[1..]].concat());
    let (first, left) = request(long.clone(), "full", 8);
    scheduler.submit(first);
    (0..7).for_each(|_| scheduler.step());
    let (second, heard) = request(short.clone(), "full", 8);
    scheduler.submit(second);
    scheduler.step();
    assert_eq!(heard.cached(), beginning.len(), "who comes later begins with what both have in common");
    left.leave();
    run(&mut scheduler);
    let (again, asked) = request(long.clone(), "full", 8);
    scheduler.submit(again);
    run(&mut scheduler);
    assert!(asked.cached() >= 7 * 64, "who left and asks again goes on: {} tokens", asked.cached());
    for (prompt, heard) in [(long, asked), (short, heard)] {
        assert_eq!(heard.tokens(0), alone(&engine, &prompt, "full", 8));
    }
}

#[test]
fn earlier_prompts_are_there_for_the_next_process() {
    let engine = engine();
    let directory = tempfile::tempdir().unwrap();
    let run_one = |scheduler: &mut Scheduler<'_>, policy: &str| {
        let (request, heard) = request(text(300, 8), policy, 10);
        scheduler.submit(request);
        run(scheduler);
        (heard.cached(), heard.tokens(0))
    };
    let policies = ["full", "h2o(keep=0.5)", "streaming(keep=0.5)"];
    let mut first = Scheduler::new(&engine, ScheduleLimits::default());
    let expected: Vec<_> = policies.iter().map(|policy| run_one(&mut first, policy).1).collect();
    let saved = first.save_prompts(directory.path()).unwrap();
    assert_eq!(saved, first.counters().prefix_nodes);
    // One more that was changed, one that is nothing.
    let some = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&some).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(directory.path().join("changed.headwise-prefix"), &bytes).unwrap();
    std::fs::write(directory.path().join("empty.headwise-prefix"), b"").unwrap();
    let mut second = Scheduler::new(&engine, ScheduleLimits::default());
    let loaded = second.load_prompts(directory.path());
    assert_eq!((loaded.prompts, loaded.passed_over.len()), (saved, 2));
    assert_eq!(second.counters().prefix_bytes, first.counters().prefix_bytes);
    for (policy, expected) in policies.iter().zip(expected) {
        let (cached, tokens) = run_one(&mut second, policy);
        assert!(cached > 250, "{policy}: {cached}");
        assert_eq!(tokens, expected, "{policy}");
    }
    assert_eq!(second.load_prompts(&directory.path().join("nowhere")).prompts, 0);
}

/// A prompt of agent `agent` about the text `shared`.
fn with_shared(agent: u32, shared: &[u32], policy: &str) -> (Request, Arc<Heard>) {
    let slot = Slot { shared: shared.into(), own: text(7, 900 + agent)[1..].into() };
    let parts = Parts::new(text(20, 800 + agent), vec![slot]).unwrap();
    let (mut request, heard) = request(parts.ids(), policy, 6);
    request.parts = Some(Arc::new(parts));
    (request, heard)
}

impl Heard {
    fn estimated(&self) -> usize {
        let events = self.events.lock().unwrap();
        let estimated =
            |event: &Event| if let Event::Begun { estimated, .. } = event { Some(*estimated) } else { None };
        events.iter().find_map(estimated).unwrap()
    }
}

#[test]
fn prompts_with_shared_texts_are_read_until_enough_is_known() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let mut ask = |agent: u32, seed: u32| {
        // The third is the first with another word in it.
        let mut shared = text(90, 1 + (seed - 1) % 2)[1..].to_vec();
        shared[40] = if seed == 3 { 200 } else { shared[40] };
        let (request, heard) = with_shared(agent, &shared, "full");
        let prompt = request.prompt.clone();
        scheduler.submit(request);
        while !scheduler.idle() {
            scheduler.step();
        }
        assert_eq!(heard.ends(), 1);
        (heard, prompt, scheduler.counters())
    };
    for agent in [1, 2] {
        for seed in [1, 2] {
            let (heard, prompt, _) = ask(agent, seed);
            assert_eq!(heard.estimated(), 0);
            assert_eq!(heard.tokens(0), alone(&engine, &prompt, "full", 6), "what is read is read as always");
        }
    }
    let (heard, prompt, counters) = ask(1, 3);
    assert_eq!((heard.estimated(), heard.cached()), (prompt.len() - 6, 0));
    assert_eq!((counters.shared_prompts, counters.estimated_tokens), (5, heard.estimated() as u64));
    assert!(counters.shared_bytes > 0);
    let (heard, _, _) = ask(1, 3);
    assert!(heard.estimated() > 0 && heard.cached() == 0, "an estimate is nothing to go on from");
    let (heard, _, _) = ask(2, 1);
    assert!(heard.estimated() == 0 && heard.cached() > 0, "what was read is better");
}

#[test]
fn shared_texts_never_stop_the_others() {
    let engine = engine();
    let growth = Growth::new(engine.spec(), &CachePolicy::full());
    for bytes in [growth.of(130) + growth.next(), 3 * growth.of(130), 20 * growth.of(130)] {
        for shared_bytes in [0, bytes / 3, bytes] {
            let limits = ScheduleLimits { bytes, shared_bytes, prefix_bytes: 0, ..ScheduleLimits::default() };
            let mut scheduler = Scheduler::new(&engine, limits);
            let mut heard = Vec::new();
            for number in 0..12 {
                let policy = if number % 3 == 0 { "snapkv(budget=64, window=8)" } else { "full" };
                let (request, hears) = with_shared(number % 2, &text(90, number / 2)[1..], policy);
                scheduler.submit(request);
                heard.push(hears);
            }
            heard[4].gone.store(true, Ordering::Relaxed);
            for _ in 0..4000 {
                scheduler.step();
                let counters = scheduler.counters();
                // What has just been learned makes room before the next forward.
                assert!(counters.text_bytes + counters.shared_bytes <= bytes + 4 * growth.of(130));
            }
            assert!(scheduler.idle(), "{bytes} {shared_bytes}: {:?}", scheduler.counters());
            let ended = heard.iter().filter(|heard| heard.ends() == 1).count();
            assert_eq!(ended, 11, "{bytes} {shared_bytes}");
        }
    }
}

#[test]
fn shared_texts_under_other_policies_are_refused() {
    let engine = engine();
    let mut scheduler = Scheduler::new(&engine, ScheduleLimits::default());
    let (request, heard) = with_shared(1, &[5, 6, 7], "h2o(budget=40)");
    scheduler.submit(request);
    assert!(heard.failure().unwrap().contains("`h2o(budget=40)` gathers more than keys and values"));
}

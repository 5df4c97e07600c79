//! I11, KVCOMM: keys and values of shared text under prefixes that differ, estimated from what other texts did there. arXiv:2510.12872.

use std::fmt::Write as _;
use std::time::Instant;

use headwise_engine::cache::CachePolicy;
use headwise_engine::kvcomm::{Estimate, KvComm, KvCommSettings, Parts, Slot};
use headwise_engine::{Chunk, Engine, Logits, Sequence, TextModel, Wanted};
use headwise_kernels::kv::KeyValues;
use headwise_models::tokenizer::Encode;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::needles::smollm2;
use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I11",
    claims: &[
        Claim {
            text: "error of estimated keys and values, layers after the first, as a share of that of keys and values that are only moved; five agents, \
                   12 reports of 1,000 tokens, SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 0.7,
        },
        Claim {
            text: "percent of the 60 prompts that are put together and not read",
            direction: Direction::AtLeast,
            threshold: 60.0,
        },
        Claim {
            text: "percent of their answers that name what was asked for where the answer after reading everything does, and only there; baseline: keys \
                   and values that are only moved",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "percent of their answers, 8 tokens each, that are the same to the letter when everything is read; baseline: keys and values that are only moved",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "time to the first token of a prompt that is put together, as a share of reading it",
            direction: Direction::AtMost,
            threshold: 0.25,
        },
        Claim {
            text: "time of all prompts together, what is read once included, as a share of reading each",
            direction: Direction::AtMost,
            threshold: 0.75,
        },
    ],
    seconds: 150,
    source: include_str!("i11.rs"),
    run,
};

const REPORTS: usize = 12;
/// Tokens of an answer.
const ANSWER: usize = 8;

/// What the agents are told, and what each asks.
const AGENTS: [[&str; 2]; 5] = [
    [
        "You are a navigator. You read reports of expeditions and name places. Answer with one word.",
        "In which city did the expedition end?",
    ],
    [
        "You keep the books of a shipping company and care about money only, so you look for what things cost. Answer with a number.",
        "How many pounds did the ship cost?",
    ],
    [
        "You are a historian who writes down who did what. You answer in as few words as you can, and never guess.",
        "What is the name of the captain?",
    ],
    ["You are a helpful assistant.", "Which animal did the crew keep on board?"],
    [
        "You check the work of other assistants. Read the report with care, then answer the question that follows it. Say nothing else than the \
         answer.",
        "What is the name of the ship?",
    ],
];

fn run(seed: u64) -> Vec<Measured> {
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    smollm2().map_or(vec![unable; EXPERIMENT.claims.len()], |model| measure(&model, seed))
}

fn measure(model: &TextModel, seed: u64) -> Vec<Measured> {
    let engine = &model.engine;
    let full = CachePolicy::full();
    let mut pool = KvComm::new(KvCommSettings { bytes: usize::MAX, ..KvCommSettings::default() }, full.clone());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut errors, mut moved) = ([0.0; 2], [0.0; 2]);
    // Answers that are right alike, and alike to the letter: of estimates, and of texts that are only moved.
    let mut alike = [[0u32; 2]; 2];
    // Answers that are right when everything is read.
    let mut known = 0u32;
    let (mut shares, mut all, mut dense_all) = (Vec::new(), 0.0, 0.0);
    for _ in 0..REPORTS {
        let (report, answers) = report(&mut random);
        let report = encode(model, &report);
        for ([told, asked], right) in AGENTS.into_iter().zip(answers) {
            let parts = parts(model, told, &report, asked);
            let ids = parts.ids();
            let started = Instant::now();
            let mut dense = engine.sequence(&full).expect("it fits every model");
            let scores = engine.prefill(&mut dense, &ids, |_| {}).expect("a prompt of known tokens");
            let reading = started.elapsed().as_secs_f64();
            dense_all += reading;
            let answer = write(model, &mut dense.clone(), scores);
            // What every agent shares is read once, when it comes.
            let started = Instant::now();
            for needed in pool.needed(&parts) {
                let mut base = engine.sequence(&full).expect("it fits every model");
                engine.prefill(&mut base, &needed.ids(engine), |_| {}).expect("a text of known tokens");
                engine.install(|| pool.learn_base(&needed, &base));
            }
            all += started.elapsed().as_secs_f64();
            let aligned = engine.install(|| pool.align(engine, &parts, &full)).expect("it fits the model");
            let started = Instant::now();
            let estimate = engine.install(|| pool.estimate(engine, &parts, &full)).expect("it fits the model");
            let Ok(Estimate { mut sequence, tokens }) = estimate else {
                engine.install(|| pool.learn(&parts, &dense));
                // A prompt that cannot be put together is read, which took so long above.
                all += started.elapsed().as_secs_f64() + reading;
                continue;
            };
            let scores = end(engine, &mut sequence, &ids[tokens..]);
            let time = started.elapsed().as_secs_f64();
            all += time;
            shares.push(time / reading);
            add(&mut errors, &sequence, &dense, tokens);
            known += u32::from(answer.contains(&right));
            count(&mut alike[0], &write(model, &mut sequence, scores), &answer, &right);
            if let Ok(Estimate { mut sequence, tokens }) = aligned {
                add(&mut moved, &sequence, &dense, tokens);
                let scores = end(engine, &mut sequence, &ids[tokens..]);
                count(&mut alike[1], &write(model, &mut sequence, scores), &answer, &right);
            }
        }
    }
    let together = shares.len().max(1) as f64;
    let relative = |[error, norm]: [f64; 2]| (error / norm).sqrt();
    let against = |which: usize| {
        let [own, moved] = alike.map(|alike| 100.0 * f64::from(alike[which]) / together);
        // Whoever seldom knows what is asked for says little about answers that are right.
        let conclusive = which == 1 || f64::from(known) >= 0.6 * together;
        Measured { conclusive, ..Measured::against(own, moved) }
    };
    shares.sort_by(f64::total_cmp);
    vec![
        Measured::alone(relative(errors) / relative(moved)),
        Measured::alone(100.0 * shares.len() as f64 / (REPORTS * AGENTS.len()) as f64),
        against(0),
        against(1),
        Measured::alone(shares.get(shares.len() / 2).copied().unwrap_or(f64::NAN)),
        Measured::alone(all / dense_all),
    ]
}

/// Counts whether `found` names what is `right` as `answer` does, and whether it is the same to the letter.
fn count(alike: &mut [u32; 2], found: &str, answer: &str, right: &str) {
    alike[0] += u32::from(found.contains(right) == answer.contains(right));
    alike[1] += u32::from(found == answer);
}

fn encode(model: &TextModel, text: &str) -> Vec<u32> {
    model.tokenizer.encode(text, Encode::TEMPLATE).expect("text")
}

/// The prompt of an agent, as the model's chat template has it.
fn parts(model: &TextModel, told: &str, report: &[u32], asked: &str) -> Parts {
    let first = encode(model, &format!("<|im_start|>system\n{told}<|im_end|>\n<|im_start|>user\n"));
    let own = encode(model, &format!("\n\n{asked}<|im_end|>\n<|im_start|>assistant\n"));
    Parts::new(first, vec![Slot { shared: report.into(), own: own.into() }]).expect("words around a report")
}

/// Reads the end of a prompt.
fn end(engine: &Engine, sequence: &mut Sequence, ids: &[u32]) -> Logits {
    let chunk = Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last };
    engine.forward(&mut [chunk]).expect("tokens of the model").remove(0)
}

/// The likeliest answer.
fn write(model: &TextModel, sequence: &mut Sequence, mut scores: Logits) -> String {
    let mut ids = Vec::new();
    for _ in 0..ANSWER {
        let likeliest = scores.last().iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
        let id = likeliest.map_or(0, |(id, _)| id as u32);
        ids.push(id);
        scores = model.engine.step(sequence, id).expect("a token of the model");
    }
    model.tokenizer.decode(&ids, true)
}

/// Adds the squared error of the first `tokens` keys and values of `estimate`, and the squares of those of `dense`.
fn add(sums: &mut [f64; 2], estimate: &Sequence, dense: &Sequence, tokens: usize) {
    for (estimate, dense) in estimate.layers().iter().zip(dense.layers()).skip(1) {
        let width = dense.shape().head_dim;
        let read = |pairs: &KeyValues, slot| {
            let mut numbers = vec![0.0; 2 * width];
            let (key, value) = numbers.split_at_mut(width);
            pairs.read(slot, key, value);
            numbers
        };
        for (estimate, dense) in estimate.pairs().iter().zip(dense.pairs()) {
            for slot in 0..tokens {
                for (one, other) in read(estimate, slot).into_iter().zip(read(dense, slot)) {
                    sums[0] += f64::from(one - other).powi(2);
                    sums[1] += f64::from(other).powi(2);
                }
            }
        }
    }
}

/// A report of about 1,000 tokens, the same in every word but names and numbers, and what each agent should answer.
fn report(random: &mut ChaCha8Rng) -> (String, [String; AGENTS.len()]) {
    let mut pick = |from: &[&'static str]| *from.choose(random).expect("something to choose from");
    let [ship, captain, animal] = [pick(&SHIPS), pick(&CAPTAINS), pick(&ANIMALS)];
    let [start, end] = [pick(&CITIES), pick(&CITIES)];
    let cost = random.random_range(100..1000);
    let mut text = format!(
        "The ship {ship} was built for {cost} pounds and left {start} in spring. Her captain was {captain}. The crew kept a {animal} on board. "
    );
    for day in 1..=DAYS {
        let (wind, miles) = (WINDS.choose(random).expect("winds"), random.random_range(10..99));
        let _ = write!(
            text,
            "On day {day} the wind came from the {wind} and the ship made {miles} miles. The sails were mended, the water was measured and the log was signed by the mate. "
        );
    }
    let _ = write!(text, "The expedition ended in {end}.");
    (text, [end, &cost.to_string(), captain, animal, ship].map(Into::into))
}

const DAYS: usize = 26;
const SHIPS: [&str; 6] = ["Star", "Crown", "Eagle", "Victory", "Hope", "Queen"];
const CAPTAINS: [&str; 6] = ["Brown", "Smith", "Clark", "Scott", "King", "Young"];
const ANIMALS: [&str; 6] = ["dog", "cat", "bird", "goat", "horse", "monkey"];
const CITIES: [&str; 8] = ["London", "Paris", "Boston", "Rome", "Berlin", "Chicago", "Moscow", "Madrid"];
const WINDS: [&str; 4] = ["north", "south", "east", "west"];

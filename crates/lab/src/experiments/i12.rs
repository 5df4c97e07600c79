//! I12, prepacking: prompts of different lengths in shared forwards without padding. arXiv:2404.09529.

use std::time::Instant;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Prompt, Sequence, TextModel};
use headwise_models::decoder::Weights;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I12",
    claims: &[
        Claim {
            text: "largest difference of the scores after 16 packed prompts from those of each prompt alone; the model that comes with the program",
            direction: Direction::AtMost,
            threshold: 1e-5,
        },
        Claim {
            text: "prompts per second of 16 prompts of log-uniform length 32 to 1024, as a share of what padding computes for each token that there is",
            direction: Direction::AtLeast,
            threshold: 0.9,
        },
        Claim {
            text: "time of the 16 prompts packed, as a share of one after the other",
            direction: Direction::AtMost,
            threshold: 1.05,
        },
    ],
    seconds: 20,
    source: include_str!("i12.rs"),
    run,
};

const PROMPTS: usize = 16;
const SHORTEST: f64 = 32.0;
const LONGEST: f64 = 1024.0;
/// Runs in turn, of which the fastest counts.
const REPEATS: usize = 3;

fn run(seed: u64) -> Vec<Measured> {
    let model = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let engine = &model.engine;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let vocabulary = engine.spec().vocabulary as u32;
    let prompts: Vec<Vec<u32>> = (0..PROMPTS)
        .map(|_| {
            let length = random.random_range(SHORTEST.ln()..=LONGEST.ln()).exp().round() as usize;
            (0..length).map(|_| random.random_range(0..vocabulary)).collect()
        })
        .collect();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let padded: Vec<Vec<u32>> = prompts
        .iter()
        .map(|prompt| prompt.iter().copied().chain(std::iter::repeat(0)).take(longest).collect())
        .collect();

    let difference = difference(engine, &prompts);
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..REPEATS {
        let times = [seconds(engine, &prompts), seconds(engine, &padded), seconds_alone(engine, &prompts)];
        fastest.iter_mut().zip(times).for_each(|(fastest, time)| *fastest = fastest.min(time));
    }
    let [packed, padded, alone] = fastest;
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let padding = (PROMPTS * longest) as f64 / tokens as f64;
    vec![
        Measured::alone(difference),
        Measured::alone(padded / packed / padding),
        Measured::against(packed / alone, padded / alone),
    ]
}

fn sequences(engine: &Engine) -> Vec<Sequence> {
    let full = engine.sequence(&CachePolicy::full()).expect("the full cache fits every model");
    vec![full; PROMPTS]
}

/// The largest difference of any score after packed prompts.
fn difference(engine: &Engine, prompts: &[Vec<u32>]) -> f64 {
    let (mut packed, mut alone) = (sequences(engine), sequences(engine));
    let mut items: Vec<Prompt<'_>> =
        packed.iter_mut().zip(prompts).map(|(sequence, ids)| Prompt { sequence, ids }).collect();
    let found = engine.prefill_all(&mut items, |_| {}).expect("prompts of known tokens");
    let mut most = 0.0f64;
    for ((sequence, ids), found) in alone.iter_mut().zip(prompts).zip(found) {
        let expected = engine.prefill(sequence, ids, |_| {}).expect("a prompt of known tokens");
        let pairs = found.values.iter().zip(&expected.values);
        most = pairs.fold(most, |most, (a, b)| most.max(f64::from(a - b).abs()));
    }
    most
}

/// Time of reading `prompts` together.
fn seconds(engine: &Engine, prompts: &[Vec<u32>]) -> f64 {
    let mut sequences = sequences(engine);
    let mut items: Vec<Prompt<'_>> =
        sequences.iter_mut().zip(prompts).map(|(sequence, ids)| Prompt { sequence, ids }).collect();
    let started = Instant::now();
    engine.prefill_all(&mut items, |_| {}).expect("prompts of known tokens");
    started.elapsed().as_secs_f64()
}

/// Time of reading `prompts` one after the other.
fn seconds_alone(engine: &Engine, prompts: &[Vec<u32>]) -> f64 {
    let mut sequences = sequences(engine);
    let started = Instant::now();
    for (sequence, ids) in sequences.iter_mut().zip(prompts) {
        engine.prefill(sequence, ids, |_| {}).expect("a prompt of known tokens");
    }
    started.elapsed().as_secs_f64()
}

//! I18, BCT: weights in blocks with a power of two as scale, without data or training. arXiv:2304.01483.

use burn::tensor::Device;
use headwise_engine::Engine;
use headwise_engine::cache::CachePolicy;
use headwise_models::compress::{Original, Plan};
use headwise_models::decoder::{Decoder, Weights};
use headwise_models::gguf::quantise::{Grid, GridForm, GridKind};
use headwise_models::pull;
use headwise_models::tokenizer::Encode;
use headwise_tasks::DEFAULT_TEXT;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::perplexity;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I18",
    claims: &[
        Claim {
            text: "largest error of any of 768 x 768 heavy-tailed numbers in 4 and 8 bits, blocks of 64, in halves of a step",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "decibels of signal to noise that 8 bits in blocks of 64 gain over one free scale; Student's t with 4 degrees of freedom",
            direction: Direction::AtLeast,
            threshold: 15.0,
        },
        Claim { text: "the same with 4 bits", direction: Direction::AtLeast, threshold: 10.0 },
        Claim {
            text: "percent of perplexity lost by the model that comes with the program in 8 bits, blocks of 64; baseline: one free scale a row",
            direction: Direction::AtMost,
            threshold: 0.5,
        },
        Claim { text: "the same of SmolLM2-135M", direction: Direction::AtMost, threshold: 0.5 },
    ],
    seconds: 60,
    source: include_str!("i18.rs"),
    run,
};

/// Numbers on a side of the random matrices.
const SIDE: usize = 768;
const BLOCK: usize = 64;

fn run(seed: u64) -> Vec<Measured> {
    let heavy = student_t(SIDE * SIDE, seed);
    let blocks = |bits| on_grids(&heavy, BLOCK, GridForm { bits, kind: GridKind::PowerOfTwo });
    let gain = |bits| {
        let free = on_grids(&heavy, heavy.len(), GridForm { bits, kind: GridKind::Symmetric });
        signal_to_noise(&heavy, &blocks(bits).0) - signal_to_noise(&heavy, &free.0)
    };
    let largest = blocks(4).1.max(blocks(8).1);
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let smollm = pull::resolve("smollm2-135m").ok();
    vec![
        Measured::alone(largest),
        Measured::alone(gain(8)),
        Measured::alone(gain(4)),
        lost(&|| Original::embedded().expect("it comes with the program"), seed),
        // A model that is not there says nothing.
        smollm.map_or(unable, |path| lost(&|| Original::open(&path).expect("a model that was fetched"), seed)),
    ]
}

/// Numbers of Student's distribution with 4 degrees of freedom.
fn student_t(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || {
        let (radius, turn): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random_range(0.0..1.0));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
    };
    (0..count).map(|_| (normal() / ((0..4).map(|_| normal().powi(2)).sum::<f64>() / 4.0).sqrt()) as f32).collect()
}

/// `values` on grids that `group` of them share, and the largest error in halves of a step.
fn on_grids(values: &[f32], group: usize, form: GridForm) -> (Vec<f32>, f64) {
    let mut largest = 0.0f64;
    let mut found = Vec::with_capacity(values.len());
    for group in values.chunks(group) {
        let grid = Grid::of(form, group);
        for &value in group {
            let near = grid.weight(grid.code(value));
            largest = largest.max(f64::from((near - value).abs()) / (f64::from(grid.step()) / 2.0));
            found.push(near);
        }
    }
    (found, largest)
}

/// In decibels.
fn signal_to_noise(values: &[f32], found: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
    let noise = square(&mut values.iter().zip(found).map(|(value, found)| value - found));
    10.0 * (square(&mut values.iter().copied()) / noise).log10()
}

/// How many percent more perplexity a model has with blocks, and with one scale a row.
fn lost(open: &dyn Fn() -> Original, seed: u64) -> Measured {
    let [exact, blocks, rows] =
        ["f32", "bct(bits=8, block=64)", "rtn(bits=8, group=0)"].map(|to| perplexity_of(open(), to, seed));
    Measured::against(100.0 * (blocks / exact - 1.0), 100.0 * (rows / exact - 1.0))
}

/// The perplexity of a model whose matrices are brought into `to`, over a part of the built-in speech that the seed chooses.
fn perplexity_of(mut original: Original, to: &str, seed: u64) -> f64 {
    const TOKENS: usize = 2048;
    let ids = original.tokenizer.encode(DEFAULT_TEXT, Encode::TEXT).expect("plain text");
    let start = seed as usize * TOKENS % (ids.len() - TOKENS);
    let plan = Plan::new(to.parse().expect("a target of this experiment"), Some("f32")).expect("a type");
    let file = plan.run(&mut original.model, &original.about, None, |_| {}).expect("a model of softmax layers");
    let model = Decoder::from_gguf(&file, Weights::F32, &Device::flex()).expect("what was written is read");
    let engine = Engine::new(model, 0).expect("threads");
    let measured = perplexity::measure(&engine, &CachePolicy::full(), &ids[start..start + TOKENS], 0, |_| {});
    measured.expect("a text that fits").value
}

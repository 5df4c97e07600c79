//! I04, HiP attention: a search by halves finds the keys that a query reads. arXiv:2406.09827.

mod prefill;

use headwise_engine::TextModel;
use headwise_engine::cache::{Representative, TreeSearch};
use headwise_models::decoder::Weights;
use headwise_models::pull;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::continuation;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I04",
    claims: &[
        Claim {
            text: "percent of 300 hills among 1,024 scores, of half width 8 and with noise of 3 % of their height, whose top is among the 64 found",
            direction: Direction::AtLeast,
            threshold: 100.0,
        },
        Claim {
            text: "the same of half width 4; baseline: the first block of a part stands for it, not the one in the middle",
            direction: Direction::AtLeast,
            threshold: 85.0,
        },
        Claim {
            text: "weight on the 256 of 2,048 keys found one by one, as a share of that on the best 256; scores of deviation 3, smoothed over one key; \
                   baseline: the last 256",
            direction: Direction::AtLeast,
            threshold: 0.9,
        },
        Claim {
            text: "the same in blocks of two keys, which is the method's default",
            direction: Direction::AtLeast,
            threshold: 0.9,
        },
        Claim {
            text: "blocks scored for all queries of 131,072 tokens of one head, 512 keys each, as a share of 2 m ⌈log2 ⌈blocks / m⌉⌉ for each block of \
                   queries; baseline: all blocks",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "time of search and attention over a prompt of 8,192 tokens, one head, 512 keys beside the last 256, as a multiple of that of 4,096; \
                   baseline: full attention",
            direction: Direction::AtMost,
            threshold: 2.6,
        },
        Claim {
            text: "percent by which the perplexity of 128 tokens after 2,048 rises when they read 512; SmolLM2-135M; baseline: the first and the last \
                   512",
            direction: Direction::AtMost,
            threshold: 3.0,
        },
    ],
    seconds: 40,
    source: concat!(include_str!("i04.rs"), include_str!("i04/prefill.rs")),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let hills = |half_width, representative| hills(half_width, representative, seed);
    let [center, first] = [Representative::Center, Representative::First].map(|which| hills(4.0, which));
    let trained = pull::resolve("smollm2-135m").ok().and_then(|path| TextModel::open(&path, Weights::Stored, 0).ok());
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let perplexity = trained.map_or(unable, |model| {
        let caches = ["full", "hip(budget=512, recent=128)", "streaming(budget=512)"];
        let [full, searched, stream] = continuation::perplexities(&model, caches, 2048, 128, seed);
        Measured::against(100.0 * (searched / full - 1.0), 100.0 * (stream / full - 1.0))
    });
    vec![
        Measured::alone(hills(8.0, Representative::Center)),
        Measured::against(center, first),
        weight(1, seed),
        weight(2, seed),
        prefill::work(131_072, seed),
        prefill::growth_of_time(seed),
        perplexity,
    ]
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (angle, radius): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// The percentage of hills whose top is found.
fn hills(half_width: f64, representative: Representative, seed: u64) -> f64 {
    const KEYS: usize = 1024;
    const HILLS: usize = 300;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let found = (0..HILLS).filter(|_| {
        let top = random.random_range(0..KEYS);
        let height = |at: usize| (1.0 - at.abs_diff(top) as f64 / half_width).max(0.0);
        let scores: Vec<f64> = (0..KEYS).map(|at| height(at) + 0.03 * normal(&mut random)).collect();
        let search = TreeSearch::new(KEYS, 64, representative);
        search.run(|blocks| blocks.iter().map(|&at| scores[at as usize] as f32).collect()).found().any(|at| at == top)
    });
    100.0 * found.count() as f64 / HILLS as f64
}

/// The share of the weight of the best keys that is on those found in blocks of `block` keys, and on the last ones; the mean over draws.
fn weight(block: usize, seed: u64) -> Measured {
    const KEYS: usize = 2048;
    const READ: usize = 256;
    const DRAWS: usize = 40;
    const REACH: usize = 4;
    const DEVIATION: f64 = 3.0;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kernel: Vec<f64> = (0..=2 * REACH).map(|at| (-0.5 * (at as f64 - REACH as f64).powi(2)).exp()).collect();
    let norm = kernel.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (mut found, mut last) = (0.0, 0.0);
    for _ in 0..DRAWS {
        let noise: Vec<f64> = (0..KEYS + 2 * REACH).map(|_| normal(&mut random)).collect();
        let smooth = |window: &[f64]| window.iter().zip(&kernel).map(|(x, k)| x * k).sum::<f64>() * DEVIATION / norm;
        let scores: Vec<f64> = noise.windows(2 * REACH + 1).map(smooth).collect();
        let weight = |at: usize| scores[at].exp();
        let keys = |at: usize| at * block..(at + 1) * block;
        let largest =
            |&at: &u32| scores[keys(at as usize)].iter().fold(f64::NEG_INFINITY, |most, x| x.max(most)) as f32;
        let search = TreeSearch::new(KEYS / block, READ / block, Representative::Center);
        let search = search.run(|blocks| blocks.iter().map(largest).collect());
        let mut order: Vec<usize> = (0..KEYS).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let best: f64 = order[..READ].iter().map(|at| weight(*at)).sum();
        found += search.found().flat_map(keys).map(weight).sum::<f64>() / best;
        last += (KEYS - READ..KEYS).map(weight).sum::<f64>() / best;
    }
    Measured::against(found / DRAWS as f64, last / DRAWS as f64)
}

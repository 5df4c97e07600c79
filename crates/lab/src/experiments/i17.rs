//! I17, ExpertFlow: experts that are foreseen and held in a quarter of the memory, and texts that are grouped by them. arXiv:2410.17954.

mod world;

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::time::Duration;

use headwise_engine::experts::{
    ExpertPolicy, Path, Predictor, Sample, Step, active_experts, halves, keep_if_better, loads_on_demand, simulate,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::compare::experts::{ExpertsComparison, ExpertsRow, TinyMixture, WHOLE};
use world::{ACTIVE, EXPERTS, LAYERS, VOCABULARY, World};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I17",
    claims: &[
        Claim {
            text: "ways to hold the experts of a small trained mixture, from one expert to all in memory and with regrouped batches, whose \
                   scores differ from the whole model's in any bit",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "texts by which two regrouped batches differ in size, or that they do not have once; 100 draws of 2 to 32 texts",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "difference of the loads that the scheduler reckons with from a naive count; the same draws",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "% of the routes of unseen texts that the predictor has among its two likeliest of 16 experts; 8 layers, 4 preferred \
                   experts per topic and layer, 10 % random routes",
            direction: Direction::AtLeast,
            threshold: 85.0,
        },
        Claim {
            text: "points of hits that foreseen experts with slots by demand gain over the last used of each layer, a quarter of all in \
                   memory, loads that take no time, one text at a time",
            direction: Direction::AtLeast,
            threshold: 5.0,
        },
        Claim { text: "the same with batches of 4 texts", direction: Direction::AtLeast, threshold: 15.0 },
        Claim { text: "the same with batches of 8 texts", direction: Direction::AtLeast, threshold: 15.0 },
        Claim {
            text: "% of active experts that regrouping two batches of 16 texts of two topics saves, no random routes, mean of 100 draws",
            direction: Direction::AtLeast,
            threshold: 20.0,
        },
        Claim { text: "the same with 10 % random routes", direction: Direction::AtLeast, threshold: 10.0 },
        Claim {
            text: "% of loads on demand that it saves where every layer has 4 slots, with 10 % random routes",
            direction: Direction::AtLeast,
            threshold: 25.0,
        },
        Claim {
            text: "% of active experts that it saves where routes have no topics",
            direction: Direction::AtMost,
            threshold: 5.0,
        },
        Claim {
            text: "most bytes of experts in memory at any time, as a share of what each way was allowed; the small trained mixture",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "time of a token as a share of loading on demand, a quarter of the experts in memory, loads 5 ms slower, four at once",
            direction: Direction::AtMost,
            threshold: 0.6,
        },
    ],
    seconds: 120,
    source: include_str!("i17.rs"),
    run,
};

/// Draws of two batches.
const DRAWS: u64 = 100;
/// Tokens from which the predictor learns, and on which it is measured.
const LEARNT: usize = 6000;
const UNSEEN: usize = 2000;
/// Forwards of a simulation.
const STEPS: usize = 600;

fn run(seed: u64) -> Vec<Measured> {
    let [sizes, counts] = drawn_laws(seed);
    let world = World::new(seed, 4, 0.1);
    let predictor = Predictor::learn(&world.samples(LEARNT, seed), VOCABULARY, seed).expect("there are samples");
    let accuracy = 100.0 * predictor.accuracy(&world.samples(UNSEEN, !seed), ACTIVE);
    let gain = |batch: usize| hits_gained(&world, &predictor, batch, !seed ^ batch as u64);
    let [active, _] = saved(seed, Some(0.0));
    let [noisy, loads] = saved(seed, Some(0.1));
    let [uniform, _] = saved(seed, None);
    let [different, memory, time] = on_a_model(seed);
    let found =
        [different, sizes, counts, accuracy, gain(1), gain(4), gain(8), active, noisy, loads, uniform, memory, time];
    found.map(Measured::alone).to_vec()
}

/// By how many texts regrouped batches are wrong, and by how many loads the reckoning is.
fn drawn_laws(seed: u64) -> [f64; 2] {
    let (mut texts_off, mut loads_off) = (0, 0);
    for draw in 0..DRAWS {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (draw << 20));
        let (count, slots) = (2 * random.random_range(1..=16usize), random.random_range(0..6usize));
        let world = World::new(random.random(), 2, 0.1);
        let paths = world.paths(count, &mut random);
        let batches = halves(&paths, draw);
        let all: BTreeSet<usize> = batches.iter().flatten().copied().collect();
        texts_off += batches[0].len().abs_diff(batches[1].len());
        texts_off += all.len().abs_diff(count) + (batches[0].len() + batches[1].len()).abs_diff(count);
        loads_off += loads_on_demand(&paths, &batches, slots).abs_diff(naive_loads(&paths, &batches, slots));
    }
    [texts_off as f64, loads_off as f64]
}

fn naive_loads(paths: &[Path], batches: &[Vec<usize>], slots: usize) -> usize {
    let mut loads = 0;
    for batch in batches {
        for layer in 0..LAYERS {
            let active = (0..EXPERTS).filter(|&expert| batch.iter().any(|&text| paths[text].contains(layer, expert)));
            loads += active.count().saturating_sub(slots);
        }
    }
    loads
}

/// Points of hits of `expertflow` over `lru` in batches of `batch` texts.
fn hits_gained(world: &World, predictor: &Predictor, batch: usize, seed: u64) -> f64 {
    let texts: Vec<Vec<Sample>> =
        (0..batch).map(|text| world.samples(STEPS, seed ^ ((text as u64 + 1) << 40))).collect();
    let step = |at: usize| {
        let (mut needed, mut votes) = (Path::new(LAYERS, EXPERTS), vec![0usize; LAYERS * EXPERTS]);
        for text in &texts {
            needed.join(&text[at].path);
            let expected = predictor.path(&text[at].recent, ACTIVE, 0.5);
            (0..LAYERS * EXPERTS).for_each(|bit| {
                votes[bit] += usize::from(expected.contains(bit / EXPERTS, bit % EXPERTS));
            });
        }
        let foreseen = |layer: usize| {
            let votes = &votes[layer * EXPERTS..][..EXPERTS];
            let mut expected: Vec<usize> = (0..EXPERTS).filter(|&expert| votes[expert] > 0).collect();
            expected.sort_by_key(|&expert| std::cmp::Reverse(votes[expert]));
            expected
        };
        Step {
            needed: (0..LAYERS).map(|layer| needed.of_layer(layer)).collect(),
            foreseen: (0..LAYERS).map(foreseen).collect(),
        }
    };
    let steps: Vec<Step> = (0..STEPS).map(step).collect();
    let hits = |policy: &str| {
        let policy: ExpertPolicy = headwise_spec::from_text(policy).expect("a policy");
        100.0 * simulate(&policy, [LAYERS, EXPERTS], LAYERS * EXPERTS / 4, &steps).hits().rate()
    };
    hits("expertflow") - hits("lru")
}

/// % of active experts, and of loads with 4 slots a layer, that regrouping two batches of 16 texts saves; routes of two topics with so much
/// `noise`, or none at all.
fn saved(seed: u64, noise: Option<f64>) -> [f64; 2] {
    let mut sums = [[0usize; 2]; 2];
    for draw in 0..DRAWS {
        let mut random = ChaCha8Rng::seed_from_u64(!seed ^ (draw << 24));
        let world = World::new(random.random(), 2, noise.unwrap_or(1.0));
        let paths = world.paths(32, &mut random);
        let came = [(0..16).collect(), (16..32).collect()];
        let regrouped = keep_if_better(&paths, halves(&paths, draw));
        for (sums, batches) in sums.iter_mut().zip([&came, &regrouped]) {
            sums[0] += active_experts(&paths, batches);
            sums[1] += loads_on_demand(&paths, batches, 4);
        }
    }
    [0, 1].map(|what| 100.0 * (1.0 - sums[1][what] as f64 / sums[0][what].max(1) as f64))
}

/// On a small trained mixture: ways whose scores differ, the largest share of the memory allowed, and the time beside loading on demand.
fn on_a_model(seed: u64) -> [f64; 3] {
    let folder = tempfile::tempdir().expect("room for a small model");
    TinyMixture::default().write(folder.path(), seed, |_| {}).expect("losses that stay finite");
    let held = ["0.016", "0.05", "0.25", "1"]
        .map(|capacity| ["lru", "next_gate", "expertflow"].map(|name| format!("{name}(capacity={capacity})")));
    let ways = held.into_iter().flatten().chain(["on_demand", "expertflow(schedule=false)"].map(String::from));
    let rows = compared(folder.path(), ways.collect(), Duration::ZERO);
    let different = rows.iter().filter(|row| !row.same_bits).count();
    let share = |row: &ExpertsRow| row.peak_bytes as f64 / row.capacity_bytes as f64;
    let memory = rows.iter().filter(|row| row.policy != WHOLE).map(share).fold(0.0, f64::max);
    let slow = ["on_demand", "expertflow(capacity=0.25)"].map(String::from).to_vec();
    let slow = compared(folder.path(), slow, Duration::from_millis(5));
    [different as f64, memory, slow[1].tok_s / slow[2].tok_s]
}

fn compared(folder: &FilePath, policies: Vec<String>, delay: Duration) -> Vec<ExpertsRow> {
    let comparison = ExpertsComparison {
        policies,
        delay,
        model: Some(folder.to_owned()),
        tokens: 24,
        ..ExpertsComparison::default()
    };
    comparison.plan().and_then(|plan| plan.run(&mut |_| {})).expect("a model that was just written")
}

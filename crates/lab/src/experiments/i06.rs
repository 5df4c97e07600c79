//! I06, Recycled Attention: full steps, and steps that read what those attended to. arXiv:2411.05787.

use burn::tensor::Device;
use headwise_engine::cache::{
    CachePolicy, LayerStore, Memory, Needs, NewPairs, Reading, Recycled, Selection, Selector, StoreShape,
};
use headwise_engine::{Engine, TextModel};
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::kv::Codec;
use headwise_models::decoder::{Induction, Weights};
use headwise_models::pull;
use headwise_tasks::TokenTask;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::continuation;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I06",
    claims: &[
        Claim {
            text: "share of 480 tokens copied from 10 texts of 1,024 whose source is read when all sources score 2 above the rest, which has a deviation \
                   of 1, and the wanted one 10 more; 128 pairs, a full step in 8; baseline: no maximum over neighbours",
            direction: Direction::AtLeast,
            threshold: 0.9,
        },
        Claim {
            text: "share of the pairs that 64 tokens after 1,024 read with 128 pairs and a full step in 8; the hand-built induction model",
            direction: Direction::AtMost,
            threshold: 0.234,
        },
        Claim {
            text: "perplexity of 128 tokens after 2,048 when they read 256 between full steps, of which one in 10 is, as a multiple of the full cache's; \
                   SmolLM2-135M; baseline: the first and the last 256",
            direction: Direction::AtMost,
            threshold: 1.05,
        },
    ],
    seconds: 40,
    source: include_str!("i06.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let pooled = Recycled { budget: 128, stride: 8, ..Recycled::default() };
    let alone = Recycled { kernel: 1, ..pooled.clone() };
    let copied = Measured::against(copied(&pooled, seed), copied(&alone, seed));
    let trained = pull::resolve("smollm2-135m").ok().and_then(|path| TextModel::open(&path, Weights::Stored, 0).ok());
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let perplexity = trained.map_or(unable, |model| {
        let caches = ["full", "recycled(budget=256, stride=10)", "streaming(budget=256)"];
        let [full, recycled, stream] = continuation::perplexities(&model, caches, 2048, 128, seed);
        Measured::against(recycled / full, stream / full)
    });
    vec![copied, Measured::alone(read(seed)), perplexity]
}

const TOKENS: usize = 1024;
const NEEDLES: usize = 8;
const NEEDLE: usize = 6;
/// Channels that make the scores of the rest.
const NOISE: usize = 128 - 1 - NEEDLES * NEEDLE;

/// The share of copied tokens whose source `method` reads.
///
/// A key has a channel that says that it belongs to a needle, one for its own place among them, and noise.
fn copied(method: &Recycled, seed: u64) -> f64 {
    const TEXTS: u64 = 10;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || {
        let (angle, radius): (f64, f64) = (random.random(), random.random());
        ((-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    };
    let spec = AttnSpec { scale: 1.0, ..AttnSpec::causal(128) };
    let mut found = 0;
    for _ in 0..TEXTS {
        let shape = StoreShape { heads: 1, kv_heads: 1, head_dim: 128, window: None };
        let mut store = LayerStore::new(0, shape, Codec::F32, Needs::default(), false);
        let append = |key: &[f32], position: usize, store: &mut LayerStore| {
            store.append(NewPairs { raw_key: key, key, value: key, positions: &[position as i32] });
        };
        let place = |needle: usize, token: usize| 64 + needle * 110 + token;
        for slot in 0..TOKENS {
            let mut key = vec![0.0; 128];
            key[..NOISE].iter_mut().for_each(|x| *x = normal() / (NOISE as f32).sqrt());
            let wanted = (0..NEEDLES * NEEDLE).find(|wanted| place(wanted / NEEDLE, wanted % NEEDLE) == slot);
            if let Some(wanted) = wanted {
                (key[NOISE], key[NOISE + 1 + wanted]) = (1.0, 1.0);
            }
            append(&key, slot, &mut store);
        }
        let mut memory = Memory::default();
        for wanted in 0..NEEDLES * NEEDLE {
            let mut query = vec![0.0; 128];
            query[..NOISE].iter_mut().for_each(|x| *x = normal());
            (query[NOISE], query[NOISE + 1 + wanted]) = (2.0, 10.0);
            append(&[0.0; 128], TOKENS + wanted, &mut store);
            let reading = Reading { store: &store, query: &query, raw_query: &query, spec: &spec, later: 0 };
            let source = place(wanted / NEEDLE, wanted % NEEDLE) as u32;
            found += usize::from(match method.select(&reading, &mut memory) {
                Selection::Slots(slots) => slots[0].contains(&source),
                _ => true,
            });
        }
    }
    found as f64 / (TEXTS as usize * NEEDLES * NEEDLE) as f64
}

/// The share of the pairs held that a text of the induction model reads.
fn read(seed: u64) -> f64 {
    let decoder = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(decoder, 0).expect("threads");
    let policy = CachePolicy::parse("recycled(budget=128, stride=8)").expect("a policy of this experiment");
    let mut sequence = engine.sequence(&policy).expect("a policy that fits");
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length: TOKENS + 63, position: None };
    let sample = task.sample(seed).expect("a task that fits");
    let tokens: Vec<u32> = std::iter::once(Induction::START).chain(sample.tokens).collect();
    engine.prefill(&mut sequence, &tokens[..TOKENS], |_| {}).expect("a prompt of known tokens");
    for token in &tokens[TOKENS..] {
        engine.step(&mut sequence, *token).expect("a known token");
    }
    let pairs = sequence.pairs_read();
    pairs.read as f64 / pairs.held as f64
}

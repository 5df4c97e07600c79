//! I01, UNComp: the entropy of queries says which heads need much of a cache, and which layers need all of a prompt.
//! arXiv:2410.03090.

use std::time::Instant;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Sequence, TextModel};
use headwise_models::decoder::{Induction, Weights};
use headwise_tasks::DEFAULT_TEXT;

use super::needles::{Needles, embedded, smollm2};
use super::{Claim, Direction, Experiment, Measured};
use crate::perplexity;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I01",
    claims: &[
        Claim {
            text: "by how much the entropy of the head that matches in the hand-built induction model is above that of the other in its \
                   layer",
            direction: Direction::AtLeast,
            threshold: 0.1,
        },
        Claim {
            text: "percent of the needles found with everything that groups find with 30 % of the pairs; 20 needles in 1,024 tokens, the \
                   model that comes with the program; baseline: the same budget for every head",
            direction: Direction::AtLeast,
            threshold: 95.0,
        },
        Claim {
            text: "points by which groups find more than the same budget for every head, the best of 30, 10 and 5 % of the pairs",
            direction: Direction::AtLeast,
            threshold: 10.0,
        },
        Claim {
            text: "percent by which stages and groups with half of the pairs raise the perplexity of 256 tokens after 1,536; \
                   SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 10.0,
        },
        Claim {
            text: "time of reading 2,048 tokens in stages as a share of reading all in every layer, over the share of the tokens that \
                   layers read; SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 1.25,
        },
    ],
    seconds: 90,
    source: include_str!("i01.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let model = embedded();
    let needles = Needles { task: "needle_single_2", length: 1024, prompts: 20, seed };
    let full = needles.found(&model, "full");
    let conclusive = full >= 60.0;
    let found = [0.3, 0.1, 0.05].map(|keep| {
        let evictor = format!("snapkv(window=8, kernel=21, keep={keep})");
        [format!("uncomp_groups + {evictor}"), evictor].map(|cache| 100.0 * needles.found(&model, &cache) / full)
    });
    let best = found.iter().fold(f64::NEG_INFINITY, |best, [groups, even]| best.max(groups - even));
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let [perplexity, time] = smollm2()
        .map_or([unable; 2], |model| [Measured::alone(rise(&model, seed)), Measured::alone(time(&model.engine, seed))]);
    vec![
        Measured::alone(toy(seed)),
        Measured { conclusive, ..Measured::against(found[0][0], found[0][1]) },
        Measured { conclusive, ..Measured::alone(best) },
        perplexity,
        time,
    ]
}

/// By how much the entropy of the match head is above that of the other.
fn toy(seed: u64) -> f64 {
    let model = Induction::new(seed).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(model, 0).expect("threads");
    let entropies = engine.head_scores().expect("a context that is long enough").entropies();
    let of_layer = &entropies[Induction::MATCH_LAYER];
    of_layer[Induction::MATCH_HEAD] - of_layer[1 - Induction::MATCH_HEAD]
}

fn policy(text: &str) -> CachePolicy {
    CachePolicy::parse(text).expect("a policy of this experiment")
}

/// By how many percent half of the pairs raise the perplexity of `model`.
fn rise(model: &TextModel, seed: u64) -> f64 {
    const CONTEXT: usize = 1536;
    const SCORED: usize = 256;
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let start = 1000 * seed as usize % (ids.len() - CONTEXT - SCORED);
    let ids = &ids[start..start + CONTEXT + SCORED];
    let perplexity = |cache: &str| {
        perplexity::measure(&model.engine, &policy(cache), ids, CONTEXT, |_| {}).expect("a text that fits").value
    };
    let half = perplexity("uncomp_stages(keep=0.5) + uncomp_groups + snapkv(window=8, keep=0.5)");
    100.0 * (half / perplexity("full") - 1.0)
}

/// Time of a prompt in stages over what the tokens read make one expect; the fastest of several in turns.
fn time(engine: &Engine, seed: u64) -> f64 {
    const TOKENS: u64 = 2048;
    let vocabulary = engine.spec().vocabulary as u64;
    let ids: Vec<u32> = (0..TOKENS).map(|at| ((seed + at) * 7919 % vocabulary) as u32).collect();
    let policies = ["full", "uncomp_stages(keep=0.25)"].map(policy);
    let (mut fastest, mut share) = ([f64::INFINITY; 2], 1.0);
    for _ in 0..3 {
        for (fastest, policy) in fastest.iter_mut().zip(&policies) {
            let mut sequence: Sequence = engine.sequence(policy).expect("a policy that fits");
            let started = Instant::now();
            engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt of known tokens");
            *fastest = fastest.min(started.elapsed().as_secs_f64());
            let read: usize = sequence.layers().iter().map(|layer| layer.longest()).sum();
            share = read as f64 / (ids.len() * sequence.layers().len()) as f64;
        }
    }
    fastest[1] / fastest[0] / share
}

//! I23, the baselines of inference: what eviction and storage codecs cost. arXiv:2404.14469, 2309.17453, 2402.02750.

use headwise_engine::TextModel;
use headwise_engine::cache::CachePolicy;
use headwise_tasks::DEFAULT_TEXT;

use super::needles::{Needles, embedded, smollm2};
use super::{Claim, Direction, Experiment, Measured};
use crate::perplexity;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I23",
    claims: &[
        Claim {
            text: "percent of the needles found with everything that snapkv(kernel=21) finds with a quarter of the pairs, the question in \
                   its window; 20 needles in 1,024 tokens, the model that comes with the program; baseline: streaming",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim { text: "percent that streaming finds", direction: Direction::AtMost, threshold: 50.0 },
        Claim {
            text: "percent by which int8 raises the perplexity of 512 tokens after 1,536; SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 0.1,
        },
        Claim {
            text: "percent by which kivi4 raises it; baseline: kivi2",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
    ],
    seconds: 60,
    source: include_str!("i23.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let model = embedded();
    let needles = Needles { task: "needle_single_2", length: 1024, prompts: 20, seed };
    let caches = ["full", "snapkv(kernel=21, keep=0.25)", "streaming(keep=0.25)"];
    let [full, snapkv, streaming] = caches.map(|cache| needles.found(&model, cache));
    let conclusive = full >= 60.0;
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let [int8, kivi4] = smollm2().map_or([unable; 2], |model| {
        let [int8, kivi4, kivi2] = increases(&model, ["int8", "kivi4", "kivi2"], seed);
        [Measured::alone(int8), Measured::against(kivi4, kivi2)]
    });
    vec![
        Measured { conclusive, ..Measured::against(100.0 * snapkv / full, 100.0 * streaming / full) },
        Measured { conclusive, ..Measured::alone(100.0 * streaming / full) },
        int8,
        kivi4,
    ]
}

/// By how many percent each cache raises the perplexity of `model` over that of single precision.
fn increases<const N: usize>(model: &TextModel, caches: [&str; N], seed: u64) -> [f64; N] {
    const CONTEXT: usize = 1536;
    const SCORED: usize = 512;
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let start = 1000 * seed as usize % (ids.len() - CONTEXT - SCORED);
    let ids = &ids[start..start + CONTEXT + SCORED];
    let perplexity = |cache: &str| {
        let policy = CachePolicy::parse(cache).expect("a policy of this experiment");
        perplexity::measure(&model.engine, &policy, ids, CONTEXT, |_| {}).expect("a text that fits").value
    };
    let exact = perplexity("f32");
    caches.map(|cache| 100.0 * (perplexity(cache) / exact - 1.0))
}

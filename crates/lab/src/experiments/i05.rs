//! I05, LongHeads: every head reads its own chunks of the text, at distances of a short one. arXiv:2402.10685.

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, TextModel, Wanted};
use headwise_models::decoder::{Induction, Weights};

use super::{Claim, Direction, Experiment, Measured};
use crate::recall;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I05",
    claims: &[
        Claim {
            text: "percent of 40 prompts of the hand-built induction model, 1,024 tokens, that it answers reading 128 of them in chunks of 4; \
                   baseline: the first and the last 128",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "percent of single needles in 2,048 tokens that are found reading a quarter in chunks of 16, as a share of the full cache's; \
                   the model that comes with the program, 10 prompts; baseline: the first and the last quarter",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "percent of 2 single needles in 8,192 tokens, twice what the model that comes with the program was trained on, that are found when \
                   every token reads 1,024 in chunks of 64; baseline: the full cache",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
    ],
    seconds: 60,
    source: include_str!("i05.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    const COPIES: u64 = 40;
    const NEEDLES: u64 = 10;
    let decoder = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(decoder, 0).expect("threads");
    let caches = ["full", "long_heads(budget=128, chunk=4)", "streaming(budget=128)"];
    let [full, chosen, stream] = recall::induction(&engine, caches, 1024, seed * COPIES..(seed + 1) * COPIES);
    let copies = Measured { conclusive: full >= 60.0, ..Measured::against(chosen, stream) };

    let mut model = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let caches = ["full", "long_heads(budget=512, chunk=16)", "streaming(budget=512)"];
    let [full, chosen, stream] = recall::needles(&model, caches, 2048, seed * NEEDLES..(seed + 1) * NEEDLES);
    let share = Measured::against(100.0 * chosen / full, 100.0 * stream / full);
    let needles = Measured { conclusive: full >= 60.0, ..share };

    model.engine = model.engine.with_context(2 * LONG);
    vec![copies, needles, Measured::against(long(&model, "long_heads", seed), long(&model, "full", seed))]
}

const LONG: usize = 8192;
/// Tokens that the paper's method reads with full attention: those within the budget.
const WITHIN: usize = 1024;

/// The percentage of needles in long texts that `model` finds when `cache` applies from the tokens beyond the budget on.
fn long(model: &TextModel, cache: &str, seed: u64) -> f64 {
    const NEEDLES: u64 = 2;
    let policy = CachePolicy::parse(cache).expect("a policy of this experiment");
    let scores = (seed * NEEDLES..(seed + 1) * NEEDLES).map(|seed| {
        let sample = recall::needle(model, LONG, seed);
        let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix).expect("plain text");
        let mut sequence = model.engine.sequence(&policy).expect("a policy that fits");
        let (within, beyond) = ids.split_at(WITHIN);
        let mut logits = model.engine.prefill(&mut sequence, within, |_| {}).expect("a prompt that fits");
        for ids in beyond.chunks(64) {
            let chunk = Chunk { sequence: &mut sequence, ids, prompt_ends: true, wanted: Wanted::Last };
            logits = model.engine.forward(&mut [chunk]).expect("a text that fits").remove(0);
        }
        recall::answer(model, &mut sequence, logits.last(), &sample)
    });
    100.0 * scores.sum::<f64>() / NEEDLES as f64
}

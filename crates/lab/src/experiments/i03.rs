//! I03, TokenSelect: a token reads the tokens for which the heads of a layer vote. arXiv:2411.02886.

use burn::tensor::Device;
use headwise_engine::{Engine, TextModel};
use headwise_models::decoder::{Induction, Weights};

use super::{Claim, Direction, Experiment, Measured};
use crate::recall;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I03",
    claims: &[
        Claim {
            text: "percent of 40 prompts of the hand-built induction model, 1,024 tokens, that it answers reading 128 of them, as a share of the \
                   full cache's; baseline: the first and the last 128",
            direction: Direction::AtLeast,
            threshold: 99.0,
        },
        Claim {
            text: "percent of single needles in 2,048 tokens that are found reading a quarter, as a share of the full cache's; the model that \
                   comes with the program, 10 prompts; baseline: the first and the last quarter",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
    ],
    seconds: 40,
    source: include_str!("i03.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    const COPIES: u64 = 40;
    const NEEDLES: u64 = 10;
    let decoder = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(decoder, 0).expect("threads");
    let caches = ["full", "token_select(budget=128, sinks=4, recent=64)", "streaming(budget=128)"];
    let copies = recall::induction(&engine, caches, 1024, seed * COPIES..(seed + 1) * COPIES);
    let embedded = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let caches = ["full", "token_select(budget=512, sinks=4, recent=64)", "streaming(budget=512)"];
    let needles = recall::needles(&embedded, caches, 2048, seed * NEEDLES..(seed + 1) * NEEDLES);
    [copies, needles].into_iter().map(share).collect()
}

/// What the full cache finds, a selection and a stream of the same size, as shares of the first.
fn share([full, selected, stream]: [f64; 3]) -> Measured {
    Measured { conclusive: full >= 60.0, ..Measured::against(100.0 * selected / full, 100.0 * stream / full) }
}

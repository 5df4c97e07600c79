//! I02, RazorAttention: retrieval heads keep everything, one slot stands for what the others drop. arXiv:2407.15891.

use std::sync::Arc;

use burn::tensor::Device;
use headwise_engine::cache::{CachePolicy, Evictor, LayerStore, Limits, Protected, Razor, WholeHeads};
use headwise_engine::{Engine, TextModel};
use headwise_kernels::kv::Codec;
use headwise_models::decoder::{Induction, Weights};
use headwise_tasks::DEFAULT_TEXT;

use super::needles::{embedded, smollm2};
use super::{Claim, Direction, Experiment, Measured};
use crate::{perplexity, recall};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I02",
    claims: &[
        Claim {
            text: "percent of 100 texts of the hand-built induction model, 512 tokens, that it goes on rightly with 35 % of the pairs, \
                   the head that matches found by itself and kept whole; baseline: another head kept whole",
            direction: Direction::AtLeast,
            threshold: 95.0,
        },
        Claim {
            text: "percent of them that it goes on rightly when another head is kept whole",
            direction: Direction::AtMost,
            threshold: 30.0,
        },
        Claim {
            text: "percent by which the slot for dropped pairs raises the perplexity of 512 tokens after 1,280 when 32 % of the pairs \
                   are kept; the model that comes with the program",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim { text: "the same with SmolLM2-135M", direction: Direction::AtMost, threshold: 1.0 },
    ],
    seconds: 45,
    source: include_str!("i02.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let [found, other] = toy(seed);
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    vec![
        Measured::against(found, other),
        Measured::alone(other),
        Measured::alone(raised_by_slot(&embedded(), seed)),
        smollm2().map_or(unable, |model| Measured::alone(raised_by_slot(&model, seed))),
    ]
}

/// The percentage of texts that the induction model goes on rightly with its own match head whole, and with the other head.
fn toy(seed: u64) -> [f64; 2] {
    let model = Induction::new(seed).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(model, 0).expect("threads");
    let other = format!("razor(heads=[[{}, {}]], keep=0.35)", Induction::MATCH_LAYER, 1 - Induction::MATCH_HEAD);
    recall::induction(&engine, ["razor(keep=0.35)", &other], 512, 100 * seed..100 * (seed + 1))
}

/// By how many percent the slot for what is dropped raises the perplexity when a fifth of the text is kept beside retrieval
/// heads.
fn raised_by_slot(model: &TextModel, seed: u64) -> f64 {
    const CONTEXT: usize = 1280;
    const SCORED: usize = 512;
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let start = 1000 * seed as usize % (ids.len() - CONTEXT - SCORED);
    let ids = &ids[start..start + CONTEXT + SCORED];
    // With 14 % of the heads whole, the others keep a fifth.
    let razor = Razor { keep: Some(0.32), ..Razor::default() };
    let alone = CachePolicy::custom("razor without its slot", vec![Arc::new(Uncompensated(razor.clone()))], Codec::F16);
    let slot = CachePolicy::custom("razor", vec![Arc::new(razor)], Codec::F16);
    let [slot, alone] = [slot, alone].map(|policy| {
        let policy = policy.expect("a policy of this experiment");
        perplexity::measure(&model.engine, &policy, ids, CONTEXT, |_| {}).expect("a text that fits").value
    });
    100.0 * (slot / alone - 1.0)
}

/// RazorAttention that forgets what it drops.
#[derive(Debug)]
struct Uncompensated(Razor);

impl Evictor for Uncompensated {
    fn limits(&self) -> Result<Limits, String> {
        self.0.limits()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        self.0.score(store)
    }

    fn protected(&self, budget: usize) -> Protected {
        self.0.protected(budget)
    }

    fn whole_heads(&self) -> Option<WholeHeads> {
        self.0.whole_heads()
    }

    fn head_budgets(&self, store: &LayerStore, budget: usize) -> Vec<usize> {
        self.0.head_budgets(store, budget)
    }
}

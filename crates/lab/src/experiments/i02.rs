//! I02, RazorAttention: retrieval heads keep everything, one slot stands for what the others drop. arXiv:2407.15891.

use std::sync::Arc;

use burn::tensor::Device;
use headwise_engine::cache::{CachePolicy, Evictor, LayerStore, Limits, Protected, Razor, WholeHeads};
use headwise_engine::{Engine, TextModel};
use headwise_kernels::kv::Codec;
use headwise_models::decoder::{Induction, Weights};
use headwise_tasks::DEFAULT_TEXT;

use super::needles::smollm2;
use super::{Claim, Direction, Experiment, Measured};
use crate::recall;

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
            text: "divergence of what is predicted from what the full cache predicts, with the slot for dropped pairs, as a share of that \
                   without it; 256 tokens after 1,280, 32 % of the pairs kept, SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "percent by which the slot raises the perplexity of these tokens",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
    ],
    seconds: 40,
    source: include_str!("i02.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let [found, other] = toy(seed);
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let slot = smollm2().map_or([unable; 2], |model| slot(&model, seed).map(Measured::alone));
    [&[Measured::against(found, other), Measured::alone(other)][..], &slot].concat()
}

/// The percentage of texts that the induction model goes on rightly with its own match head whole, and with the other head.
fn toy(seed: u64) -> [f64; 2] {
    let model = Induction::new(seed).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(model, 0).expect("threads");
    let other = format!("razor(heads=[[{}, {}]], keep=0.35)", Induction::MATCH_LAYER, 1 - Induction::MATCH_HEAD);
    recall::induction(&engine, ["razor(keep=0.35)", &other], 512, 100 * seed..100 * (seed + 1))
}

/// The divergence with the slot for dropped pairs as a share of that without, and by how many percent it raises the perplexity.
fn slot(model: &TextModel, seed: u64) -> [f64; 2] {
    const CONTEXT: usize = 1280;
    const SCORED: usize = 256;
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let start = 1000 * seed as usize % (ids.len() - CONTEXT - SCORED);
    let (context, scored) = ids[start..start + CONTEXT + SCORED].split_at(CONTEXT);
    // With 14 % of the heads whole, the others keep a fifth.
    let razor = Razor { keep: Some(0.32), ..Razor::default() };
    let alone = CachePolicy::custom("razor without its slot", vec![Arc::new(Uncompensated(razor.clone()))], Codec::F16);
    let slot = CachePolicy::custom("razor", vec![Arc::new(razor)], Codec::F16);
    let policies = [Ok(CachePolicy::full()), slot, alone].map(|policy| policy.expect("a policy of this experiment"));
    let engine = &model.engine;
    let mut texts = policies.map(|policy| {
        let mut text = engine.sequence(&policy).expect("a policy that fits");
        engine.prefill(&mut text, context, |_| {}).expect("a text that fits");
        text
    });
    // The prompt itself is read in full by all: what is kept counts from the first token after it.
    let (mut divergence, mut loss) = ([0.0; 2], [0.0; 2]);
    for pair in scored.windows(2) {
        let [full, slot, alone] = texts.each_mut().map(|text| {
            let logits = engine.step(text, pair[0]).expect("a text that fits");
            log_probabilities(logits.last())
        });
        for (which, other) in [slot, alone].into_iter().enumerate() {
            divergence[which] += full.iter().zip(&other).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            loss[which] -= other[pair[1] as usize];
        }
    }
    let [slot, alone] = loss.map(|loss| (loss / (SCORED - 1) as f64).exp());
    [divergence[0] / divergence[1], 100.0 * (slot / alone - 1.0)]
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, logit| logit.max(most));
    let total = logits.iter().map(|logit| f64::from(logit - most).exp()).sum::<f64>().ln();
    logits.iter().map(|logit| f64::from(logit - most) - total).collect()
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

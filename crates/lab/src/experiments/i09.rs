//! I09, retrieval heads: few heads copy, and without them nothing is found. arXiv:2404.15574.

use burn::tensor::Device;
use headwise_engine::heads::Answered;
use headwise_engine::{Engine, TextModel};
use headwise_models::decoder::{Induction, Weights};
use headwise_tasks::TokenTask;
use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::needles::{Needles, smollm2};
use super::{Claim, Direction, Experiment, Measured};
use crate::inspect::{Copies, RETRIEVAL_SCORE, copies};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I09",
    claims: &[
        Claim {
            text: "retrieval score of the head that matches in the hand-built induction model, over 50 texts of 512 tokens; baseline: \
                   the highest of any other head",
            direction: Direction::AtLeast,
            threshold: 0.9,
        },
        Claim {
            text: "the highest retrieval score of any other of its heads",
            direction: Direction::AtMost,
            threshold: 0.05,
        },
        Claim {
            text: "percent of the heads of SmolLM2-135M with a retrieval score of at least 0.1; 16 needles in 1,024 tokens",
            direction: Direction::AtMost,
            threshold: 15.0,
        },
        Claim {
            text: "points of 12 other needles that it loses without the 5 % of heads with the highest score; baseline: without as many \
                   others, mean of three draws",
            direction: Direction::AtLeast,
            threshold: 40.0,
        },
        Claim { text: "points that it loses without as many others", direction: Direction::AtMost, threshold: 10.0 },
    ],
    seconds: 200,
    source: include_str!("i09.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let [matches, others] = toy(seed);
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let mut measured = vec![Measured::against(matches, others), Measured::alone(others)];
    measured.extend(smollm2().map_or([unable; 3], |model| trained(model, seed)));
    measured
}

/// The retrieval score of the match head, and the highest of any other.
fn toy(seed: u64) -> [f64; 2] {
    const TEXTS: u64 = 50;
    let model = Induction::new(seed).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(model, 0).expect("threads");
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length: 511, position: None };
    let mut sums = vec![vec![0.0; engine.spec().layers[0].mixer.softmax().map_or(0, |mixer| mixer.heads)]; 2];
    for text in 0..TEXTS {
        let sample = task.sample(seed * TEXTS + text).expect("a task that fits");
        let query = sample.queries.first().expect("a text that asks");
        let mut ids: Vec<u32> = std::iter::once(Induction::START).chain(sample.tokens).collect();
        ids.push(query.answer);
        let end = ids.len();
        // The pair that is asked for: what is asked last, where it stood first, and its successor.
        let asked = ids[..end - 2].iter().position(|id| *id == ids[end - 2]).expect("what is asked stands in the text");
        let answered = Answered { ids: &ids, answer: end - 1..end, needle: asked..asked + 2 };
        let shares = engine.copying_heads(&answered).expect("a text of known tokens");
        sums.iter_mut().flatten().zip(shares.iter().flatten()).for_each(|(sum, share)| *sum += share / TEXTS as f64);
    }
    let [layer, head] = [Induction::MATCH_LAYER, Induction::MATCH_HEAD];
    let matches = std::mem::take(&mut sums[layer][head]);
    [matches, sums.iter().flatten().fold(0.0, |most, score| score.max(most))]
}

/// The share of retrieval heads, and what masking heads does.
fn trained(model: TextModel, seed: u64) -> [Measured; 3] {
    let copies = copies(&model, 1024, 16, seed + 100, |_| {}).expect("needles that are found");
    let order = copies.order();
    let share = 100.0 * copies.retrieval_heads() as f64 / order.len() as f64;
    let masked = order.len() / 20;
    let needles = Needles { task: "needle_single_2", length: 1024, prompts: 12, seed };
    let full = needles.found(&model, "full");
    let (found, model) = without(model, &order[..masked], &needles);
    let (mut others, mut model, mut random) = (0.0, model, ChaCha8Rng::seed_from_u64(seed));
    for _ in 0..3 {
        let drawn = others_than_retrieval(&copies, masked, &mut random);
        let (found, back) = without(model, &drawn, &needles);
        (others, model) = (others + (full - found) / 3.0, back);
    }
    let conclusive = full >= 60.0;
    [
        Measured { conclusive, ..Measured::alone(share) },
        Measured { conclusive, ..Measured::against(full - found, others) },
        Measured { conclusive, ..Measured::alone(others) },
    ]
}

/// The percentage of `needles` that `model` finds without `heads`, and the model with all its heads.
fn without(mut model: TextModel, heads: &[[usize; 2]], needles: &Needles) -> (f64, TextModel) {
    model.engine = model.engine.with_masked_heads(heads);
    let found = needles.found(&model, "full");
    model.engine = model.engine.with_masked_heads(&[]);
    (found, model)
}

/// `count` heads that are no retrieval heads.
fn others_than_retrieval(copies: &Copies, count: usize, random: &mut ChaCha8Rng) -> Vec<[usize; 2]> {
    let others: Vec<[usize; 2]> =
        copies.order().into_iter().filter(|&[layer, head]| copies.score[layer][head] < RETRIEVAL_SCORE).collect();
    let mut drawn: Vec<[usize; 2]> = others.sample(random, count).copied().collect();
    drawn.shuffle(random);
    drawn
}

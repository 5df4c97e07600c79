//! I07, GemFilter: an early layer picks the tokens of a prompt, and only those are read in full. arXiv:2409.17422.

use std::time::Instant;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::heads::picking;
use headwise_engine::{Engine, Generation, Sampler, Sequence, TextModel, generate};
use headwise_models::decoder::{Induction, Weights};
use headwise_models::pull;
use headwise_tasks::{Request, TokenTask};

use super::{Claim, Direction, Experiment, Measured};
use crate::inspect::picked_needles;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I07",
    claims: &[
        Claim {
            text: "percent of 200 prompts of the hand-built induction model, 512 tokens, that it answers from the tenth of the tokens that \
                   its match layer picks; baseline: a layer that does not match",
            direction: Direction::AtLeast,
            threshold: 95.0,
        },
        Claim {
            text: "points of single needles in 2,048 tokens that are lost when 256 are picked and read, by the layer that picks best of 4 \
                   other needles; SmolLM2-135M, 8 prompts",
            direction: Direction::AtMost,
            threshold: 5.0,
        },
        Claim {
            text: "time of reading 3,900 tokens when 390 are picked by the third of six layers, as a share of reading all",
            direction: Direction::AtMost,
            threshold: 0.75,
        },
    ],
    seconds: 100,
    source: include_str!("i07.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let embedded = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    // Without a trained model of some size nothing follows about needles: in the one that comes with the program, the layer that
    // matches attends from the digits of an answer, which are not written yet.
    let trained = pull::resolve("smollm2-135m").ok().and_then(|path| TextModel::open(&path, Weights::Stored, 0).ok());
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let lost = trained.map_or(unable, |model| {
        // Needles of another kind and length say which layer picks.
        let picks = picked_needles(&model, 1024, 4, !seed, |_| {}).expect("needles that fit");
        let layer = picking(&picks).expect("every layer sees the whole prompt");
        let [full, picked] = ["full".to_owned(), format!("gemfilter(layer={layer}, budget=256)")]
            .map(|cache| needles(&model, &cache, seed));
        Measured { conclusive: full >= 60.0, ..Measured::alone(full - picked) }
    });
    let matched = Measured::against(induction(Induction::MATCH_LAYER, seed), induction(0, seed));
    vec![matched, lost, Measured::alone(share_of_time(&embedded.engine, seed))]
}

fn policy(text: &str) -> CachePolicy {
    CachePolicy::parse(text).expect("a policy of this experiment")
}

/// The percentage of prompts that the induction model answers when `layer` picks a tenth.
fn induction(layer: usize, seed: u64) -> f64 {
    const PROMPTS: u64 = 200;
    const LENGTH: usize = 512;
    let model = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("it is written down");
    let engine = Engine::new(model, 0).expect("threads");
    let policy = policy(&format!("gemfilter(layer={layer}, rows=1, kernel=3, budget={})", LENGTH / 10));
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length: LENGTH - 1, position: None };
    let right = (0..PROMPTS).filter(|prompt| {
        let sample = task.sample(seed * PROMPTS + prompt).expect("a task that fits");
        let ids: Vec<u32> = std::iter::once(Induction::START).chain(sample.tokens).collect();
        let mut sequence = engine.sequence(&policy).expect("a policy that fits");
        let logits = engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt of known tokens");
        sample.queries.iter().all(|query| Sampler::greedy().choose(logits.last()) == query.answer)
    });
    100.0 * right.count() as f64 / PROMPTS as f64
}

/// The percentage of needles that `model` finds with the cache `cache`.
fn needles(model: &TextModel, cache: &str, seed: u64) -> f64 {
    const PROMPTS: u64 = 8;
    let task = headwise_tasks::find("needle_single_1").expect("it is one of the tasks");
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    let policy = policy(cache);
    let scores = (0..PROMPTS).map(|prompt| {
        let sample = task.sample(&Request::new(2048, &count).seed(seed * PROMPTS + prompt)).expect("a task that fits");
        let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix).expect("plain text");
        let mut sequence = model.engine.sequence(&policy).expect("a policy that fits");
        let generation = Generation { tokens: task.answer_tokens(), stop: Vec::new() };
        let written = generate(&model.engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), |_| true);
        sample.score(&model.tokenizer.decode(&written.expect("a prompt that fits").ids, true))
    });
    scores.sum::<f64>() / PROMPTS as f64
}

/// The time of a prompt of which a tenth is picked, as a share of that of the whole; the fastest of several in turns.
fn share_of_time(engine: &Engine, seed: u64) -> f64 {
    const TOKENS: u64 = 3900;
    let vocabulary = engine.spec().vocabulary as u64;
    let ids: Vec<u32> = (0..TOKENS).map(|at| ((seed + at) * 7919 % vocabulary) as u32).collect();
    let policies = ["full", "gemfilter(budget=390)"].map(policy);
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..5 {
        for (fastest, policy) in fastest.iter_mut().zip(&policies) {
            let mut sequence: Sequence = engine.sequence(policy).expect("a policy that fits");
            let started = Instant::now();
            engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt of known tokens");
            *fastest = fastest.min(started.elapsed().as_secs_f64());
        }
    }
    fastest[1] / fastest[0]
}

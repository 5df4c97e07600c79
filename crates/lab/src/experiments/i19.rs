//! I19, FuseGPT: layers that go leave what they knew to their neighbours. arXiv:2411.14507.

use std::time::Instant;

use burn::tensor::Device;
use headwise_engine::Engine;
use headwise_engine::cache::CachePolicy;
use headwise_models::compress::{Calibration, Original, Plan};
use headwise_models::decoder::{Decoder, Weights};
use headwise_models::pull;
use headwise_models::tokenizer::Encode;
use headwise_nn::named;
use headwise_ops::host::{Host, contiguous};
use headwise_tasks::DEFAULT_TEXT;
use headwise_train::fuse::{Fuse, Fused, FusedGroup, Lesson, Order};

use super::{Claim, Direction, Experiment, Measured};
use crate::perplexity;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I19",
    claims: &[
        Claim {
            text: "largest difference of any weight of the model that comes with the program, fused with learning rates of 0, from the model \
                   without the same 2 layers",
            direction: Direction::AtMost,
            threshold: 1e-6,
        },
        Claim {
            text: "largest difference of what a group of it gives with its weights folded and not, after 2 epochs, as a share of its largest number",
            direction: Direction::AtMost,
            threshold: 1e-5,
        },
        Claim {
            text: "percent of the perplexity of SmolLM2-135M without 3 of 30 layers that fusion takes away; groups of 4, 3 epochs of 16 \
                   sequences of 256 tokens, a learning rate of 0.01 for these 48 steps; measured on another part of the speech",
            direction: Direction::AtLeast,
            threshold: 15.0,
        },
        Claim {
            text: "perplexity of SmolLM2-135M without the 3 layers of least macro influence, nothing learned, as a share of the mean of \
                   three random choices of 3",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "percent by which a token of SmolLM2-135M with 15 of 30 layers takes more or less time than the weights that it reads make one expect",
            direction: Direction::AtMost,
            threshold: 10.0,
        },
    ],
    seconds: 120,
    source: include_str!("i19.rs"),
    run,
};

/// Sequences of a calibration text, and their tokens.
const SEQUENCES: usize = 16;
const LENGTH: usize = 256;
/// Best of 0.001 (published, for many more steps), 0.003, 0.01 and 0.03 on parts of the speech that are not used here.
const LEARNING_RATE: f64 = 1e-2;
/// Tokens whose perplexity counts.
const EVALUATED: usize = 2048;

fn run(seed: u64) -> Vec<Measured> {
    let embedded = Original::embedded().expect("it comes with the program");
    let (text, _) = texts(&embedded, seed);
    let mut measured = vec![identity(&embedded.model, &text, seed), folding(&embedded.model, &text, seed)];
    match pull::resolve("smollm2-135m") {
        Ok(path) => measured.extend(smollm(&Original::open(&path).expect("a model that was fetched"), seed)),
        // A model that is not there says nothing.
        Err(_) => measured.extend([Measured { conclusive: false, ..Measured::alone(f64::NAN) }; 3]),
    }
    measured
}

/// What is learned from, out of the second half of the speech, and what counts, out of the first.
fn texts(original: &Original, seed: u64) -> (Calibration, Vec<u32>) {
    let ids = original.tokenizer.encode(DEFAULT_TEXT, Encode::TEXT).expect("plain text");
    let (first, second) = ids.split_at(ids.len() / 2);
    let part = |half: &[u32], tokens: usize| {
        let start = seed as usize * tokens % (half.len() - tokens);
        half[start..start + tokens].to_vec()
    };
    let tokens = SEQUENCES * LENGTH;
    let text = Calibration::new(&part(second, tokens), tokens, LENGTH).expect("a text that is long enough");
    (text, part(first, EVALUATED))
}

fn identity(model: &Decoder, text: &Calibration, seed: u64) -> Measured {
    let layers = Some(vec![3, 5]);
    let begun =
        Fuse { layers, learning_rate: 0.0, slow_learning_rate: 0.0, epochs: 1, rank: 16, seed, ..Fuse::default() };
    let weights = |fuse: &Fuse| {
        let mut model = model.clone();
        fuse.run(&mut model, &text.first(2), &mut |_| {}).expect("layers of softmax");
        named::read(&model)
    };
    let (begun, plain) = (weights(&begun), weights(&Fuse { epochs: 0, ..begun.clone() }));
    assert_eq!(begun.len(), plain.len());
    let pairs = begun.iter().zip(&plain).flat_map(|(begun, plain)| begun.values.iter().zip(&plain.values));
    Measured::alone(pairs.fold(0.0, |most, (a, b)| most.max(f64::from((a - b).abs()))))
}

fn folding(model: &Decoder, text: &Calibration, seed: u64) -> Measured {
    let text = text.first(4);
    let fuse = Fuse { epochs: 2, rank: 32, ..Fuse::default() };
    let layers = 0..model.blocks.len();
    let lesson = Lesson::of(model, &text, layers.clone());
    let group = FusedGroup::new(model, layers, 4, fuse.rank, seed).expect("trainable weights");
    let group = lesson.teach(&fuse, group, &mut |_| {}).expect("numbers that stay finite");
    let unfolded = Host::new(contiguous(group.forward(&lesson.text).inner()));
    let start = lesson.text.hidden.clone();
    let folded = group.folded().iter().fold(start, |hidden, block| lesson.text.block(block, hidden));
    let folded = Host::new(contiguous(folded));
    let largest = unfolded.as_slice().iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let pairs = unfolded.as_slice().iter().zip(folded.as_slice());
    let difference = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    Measured::alone(f64::from(difference / largest))
}

fn smollm(original: &Original, seed: u64) -> [Measured; 3] {
    let (text, ids) = texts(original, seed);
    let fuse =
        Fuse { share: 0.1, group: 4, epochs: 3, learning_rate: LEARNING_RATE, judged: 4, seed, ..Fuse::default() };
    let after = |fuse: &Fuse| -> (Fused, f64) {
        let mut model = original.model.clone();
        let done = fuse.run(&mut model, &text, &mut |_| {}).expect("layers of softmax");
        (done, perplexity_of(original, model, &ids))
    };
    let left_out = |fuse: &Fuse| after(&Fuse { epochs: 0, ..fuse.clone() });
    let (done, plain) = left_out(&fuse);
    let (_, fused) = after(&Fuse { layers: Some(done.gone), ..fuse.clone() });
    let random = |index| left_out(&Fuse { order: Order::Random, seed: 3 * seed + index, ..fuse.clone() }).1;
    let random = (0..3).map(random).sum::<f64>() / 3.0;
    [
        Measured::alone(100.0 * (1.0 - fused / plain)),
        Measured::alone(plain / random),
        Measured::alone(time(original, seed)),
    ]
}

/// An engine of `model` with its weights in `ty`.
fn engine(original: &Original, mut model: Decoder, ty: &str) -> Engine {
    let plan = Plan::new(ty.parse().expect("a type"), None).expect("a type");
    let file = plan.run(&mut model, &original.about, None, |_| {}).expect("a model of softmax layers");
    let model = Decoder::from_gguf(&file, Weights::Stored, &Device::flex()).expect("what was written is read");
    Engine::new(model, 0).expect("threads")
}

fn perplexity_of(original: &Original, model: Decoder, ids: &[u32]) -> f64 {
    let engine = engine(original, model, "f32");
    perplexity::measure(&engine, &CachePolicy::full(), ids, 0, |_| {}).expect("a text that fits").value
}

/// How many percent the time of a token with half the layers is off the share of the weights that it reads.
fn time(original: &Original, seed: u64) -> f64 {
    const STEPS: usize = 48;
    let all = original.model.blocks.len();
    let mut short = original.model.clone();
    short.keep_layers(&(0..all / 2).collect::<Vec<_>>());
    let weights = |model: &Decoder| named::read(model).iter().map(|weight| weight.values.len()).sum::<usize>() as f64;
    let expected = weights(&short) / weights(&original.model);
    let engines = [original.model.clone(), short].map(|model| engine(original, model, "f16"));
    let mut sequences = engines.each_ref().map(|engine| engine.sequence(&CachePolicy::full()).expect("a full cache"));
    let mut times = [Vec::new(), Vec::new()];
    // In turn, so that what else the machine does falls on both.
    for step in 0..STEPS {
        for ((engine, sequence), times) in engines.iter().zip(&mut sequences).zip(&mut times) {
            let id = (step as u64 * 7919 + seed) % engine.spec().vocabulary as u64;
            let started = Instant::now();
            engine.step(sequence, id as u32).expect("a known token");
            times.push(started.elapsed().as_secs_f64());
        }
    }
    let [full, half] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[STEPS / 2]
    });
    100.0 * (half / full / expected - 1.0).abs()
}

//! I08, InfiniRetri: the attention of a question picks sentences from a text of any length. arXiv:2502.12962.

use headwise_engine::cache::CachePolicy;
use headwise_engine::retrieve::{InfiniRetri, Question, Retrieved, Retriever};
use headwise_engine::{Generation, Sampler, TextModel, generate};
use headwise_models::decoder::Weights;
use headwise_tasks::{Request, Sample};

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I08",
    claims: &[
        Claim {
            text: "percent of 10 needles at 10 depths of 65,536 tokens of prose that a model with a context of 4,096 (the one that comes with \
                   the program, whose third layer picks) answers; baseline: from the last 2,048 tokens",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "memory of keys and values for 65,536 tokens, as a multiple of that for 8,192",
            direction: Direction::AtMost,
            threshold: 1.1,
        },
    ],
    seconds: 40,
    source: include_str!("i08.rs"),
    run,
};

const NEEDLES: u64 = 10;
const LONG: usize = 65_536;
const SHORT: usize = 8_192;
const LAST: usize = 2_048;

fn run(seed: u64) -> Vec<Measured> {
    let model = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let (mut found, mut last, mut bytes) = (0.0, 0.0, 0.0f64);
    for needle in 0..NEEDLES {
        let depth = (needle as f32 + 0.5) / NEEDLES as f32;
        let sample = sample(&model, LONG, depth, seed * NEEDLES + needle);
        let retrieved = retrieve(&model, &sample);
        bytes = bytes.max(retrieved.peak_bytes as f64);
        found += answer(&model, &sample, &retrieved.prompt);
        let whole = model.encode(&sample.prompt()).expect("plain text");
        last += answer(&model, &sample, &whole[whole.len() - LAST..]);
    }
    let short = retrieve(&model, &self::sample(&model, SHORT, 0.5, seed)).peak_bytes as f64;
    vec![Measured::against(found / NEEDLES as f64, last / NEEDLES as f64), Measured::alone(bytes / short)]
}

fn sample(model: &TextModel, length: usize, depth: f32, seed: u64) -> Sample {
    let task = headwise_tasks::find("needle_single_2").expect("it is one of the tasks");
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    task.sample(&Request::new(length, &count).seed(seed).depth(depth)).expect("a task that fits")
}

fn retrieve(model: &TextModel, sample: &Sample) -> Retrieved {
    let question = Question { question: &sample.question, answer_start: &sample.answer_prefix };
    // In this model the third layer is the one that matches; the last one only says what has been found.
    let retriever = Retriever::from(InfiniRetri { layer: Some(2), ..InfiniRetri::default() });
    retriever.retrieve(model, &sample.context, question, |_, _| {}).expect("parts that fit the model")
}

/// The score of what `model` answers after `prompt`, 0 to 100.
fn answer(model: &TextModel, sample: &Sample, prompt: &[u32]) -> f64 {
    let mut sequence = model.engine.sequence(&CachePolicy::full()).expect("it fits every model");
    let generation = Generation { tokens: 32, stop: Vec::new() };
    let written = generate(&model.engine, &mut sequence, prompt, &generation, &mut Sampler::greedy(), |_| true);
    sample.score(&model.tokenizer.decode(&written.expect("a prompt that fits").ids, true))
}

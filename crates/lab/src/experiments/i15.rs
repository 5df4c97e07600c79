//! I15, OPERA: beam search with a penalty for leaning on the answer, and retrospection. arXiv:2311.17911.

use std::ops::Range;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{BeamSearch, Hypothesis, Opera, TextModel, beam_search};
use headwise_models::decoder::Weights;
use headwise_tasks::{Request, Sample};

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I15",
    claims: &[
        Claim {
            text: "wrong numbers among all that answers about four needles in 512 tokens name, as a share of those of beam search with as many \
                   beams; the model that comes with the program",
            direction: Direction::AtMost,
            threshold: 0.8,
        },
        Claim {
            text: "tokens tried for each beam and token of an answer, going back included",
            direction: Direction::AtMost,
            threshold: 6.0,
        },
    ],
    seconds: 60,
    source: include_str!("i15.rs"),
    run,
};

const SAMPLES: u64 = 16;
const TOKENS: usize = 512;
const BEAMS: usize = 5;
/// Below this share of wrong numbers there is nothing to improve.
const LEAST_WRONG: f64 = 0.02;

fn run(seed: u64) -> Vec<Measured> {
    let model = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let task = headwise_tasks::find("needle_multiquery").expect("it is one of the tasks");
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    let (mut plain, mut punished) = (Mentions::default(), Mentions::default());
    let (mut tried, mut beam_tokens) = (0, 0);
    for index in 0..SAMPLES {
        let request = Request::new(TOKENS, &count).seed(seed * SAMPLES + index);
        let sample = task.sample(&request).expect("a task that fits");
        let prompt = model.encode(&sample.prompt()).expect("plain text");
        // What answers should look at is the text that they are about.
        let evidence = 0..count(&sample.context);
        plain.add(&model, &sample, &beams(&model, &prompt));
        let found = opera(&model, &prompt, evidence);
        tried += found.tried;
        beam_tokens += found.answers.iter().map(|answer| answer.ids.len()).max().unwrap_or(0) * BEAMS;
        punished.add(&model, &sample, &found.answers);
    }
    let ratio = punished.wrong_share() / plain.wrong_share().max(f64::MIN_POSITIVE);
    let conclusive = plain.wrong_share() >= LEAST_WRONG;
    vec![
        Measured { value: if conclusive { ratio } else { 1.0 }, baseline: Some(1.0), conclusive },
        Measured::alone(tried as f64 / beam_tokens.max(1) as f64),
    ]
}

/// Numbers that answers name.
#[derive(Default)]
struct Mentions {
    all: usize,
    wrong: usize,
}

impl Mentions {
    /// Adds those of the best of `answers`.
    fn add(&mut self, model: &TextModel, sample: &Sample, answers: &[Hypothesis]) {
        let text = answers.first().map_or_else(String::new, |best| model.tokenizer.decode(&best.ids, true));
        for number in text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
            self.all += 1;
            self.wrong += usize::from(!sample.expected.iter().any(|expected| expected == number));
        }
    }

    fn wrong_share(&self) -> f64 {
        self.wrong as f64 / self.all.max(1) as f64
    }
}

fn beams(model: &TextModel, prompt: &[u32]) -> Vec<Hypothesis> {
    let sequence = model.engine.sequence(&CachePolicy::full()).expect("it fits every model");
    let search = BeamSearch { beams: BEAMS, length_penalty: 1.0 };
    beam_search(&model.engine, sequence, prompt, &model.generation(ANSWER), search, |_| {}).expect("a prompt that fits")
}

fn opera(model: &TextModel, prompt: &[u32], evidence: Range<usize>) -> headwise_engine::OperaAnswers {
    let method = Opera { beams: BEAMS, candidates: BEAMS, ..Opera::default() };
    let (policy, generation) = (CachePolicy::full(), model.generation(ANSWER));
    method.search(&model.engine, &policy, prompt, evidence, &generation, |_| {}).expect("a prompt that fits")
}

/// Tokens of an answer.
const ANSWER: usize = 48;

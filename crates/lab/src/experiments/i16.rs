//! I16, UQAC: the confidence of an answer from its attention chain. arXiv:2503.19168.

use headwise_engine::cache::CachePolicy;
use headwise_engine::confidence::Confidence;
use headwise_engine::{Generation, Sampler, TextModel, generate};
use headwise_models::decoder::Weights;
use headwise_tasks::{Request, Sample};

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I16",
    claims: &[
        Claim {
            text: "area under the curve of right against wrong answers by raw confidence, less that by the probability of the answer; one needle \
                   in 512 tokens, or none, the model that comes with the program",
            direction: Direction::AtLeast,
            threshold: -0.02,
        },
        Claim {
            text: "calibration error (20 bins) of the better of raw and norm, as a share of that of the probability of the answer",
            direction: Direction::AtMost,
            threshold: 0.8,
        },
    ],
    seconds: 60,
    source: include_str!("i16.rs"),
    run,
};

const SAMPLES: u64 = 60;
const TOKENS: usize = 512;
const BINS: usize = 20;
/// Right and wrong answers, each, without which nothing is told apart.
const LEAST: usize = 8;

fn run(seed: u64) -> Vec<Measured> {
    let model = TextModel::embedded(Weights::Stored, 0).expect("it comes with the program");
    let task = headwise_tasks::find("needle_single_2").expect("it is one of the tasks");
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    let judged: Vec<Judged> = (0..SAMPLES)
        .filter_map(|index| {
            let request = Request::new(TOKENS, &count).seed(seed * SAMPLES + index);
            let sample = task.sample(&request).expect("a task that fits");
            // Every other question has no answer in the text, so that the model has to make one up.
            let asked = if index % 2 == 0 { sample } else { sample.without_needles() };
            judge(&model, &asked)
        })
        .collect();
    let right = judged.iter().filter(|judged| judged.right).count();
    let conclusive = right >= LEAST && judged.len() - right >= LEAST;
    let [raw, norm, answer] = [0, 1, 2].map(|measure| {
        let scored: Vec<(f64, bool)> = judged.iter().map(|judged| (judged.measures[measure], judged.right)).collect();
        (area(&scored), calibration_error(&scored))
    });
    let error = raw.1.min(norm.1) / answer.1.max(f64::MIN_POSITIVE);
    vec![
        Measured { value: raw.0 - answer.0, baseline: None, conclusive },
        Measured { value: error, baseline: Some(1.0), conclusive },
    ]
}

/// An answer and how sure it is.
struct Judged {
    right: bool,
    /// Raw, norm and the probability of the answer.
    measures: [f64; 3],
}

/// What `model` answers, and how sure it is; none if it names nothing. The beginning of its sentence is part of the response.
fn judge(model: &TextModel, sample: &Sample) -> Option<Judged> {
    let prompt = model.encode(&sample.user_turn()).expect("plain text");
    let whole = model.encode(&sample.prompt()).expect("plain text");
    let shared = prompt.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    let mut sequence = model.engine.sequence(&CachePolicy::full()).expect("it fits every model");
    let generation = Generation { tokens: 12, ..model.generation(12) };
    let written = generate(&model.engine, &mut sequence, &whole, &generation, &mut Sampler::greedy(), |_| true);
    let response = [&whole[shared..], &written.expect("a prompt that fits").ids].concat();
    let text = model.tokenizer.decode(&response, true);
    let after = text.len() - text.rsplit_once(sample.answer_prefix.trim_start())?.1.len();
    let start = after + text[after..].find(|c: char| c.is_ascii_digit())?;
    let length = text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start);
    let span = start..start + length;
    let right =
        sample.expected.iter().any(|expected| *expected == text[span.clone()]) && !sample.needle_spans.is_empty();
    let found = model.confidence(&whole[..shared], &response, Some(span), Confidence::default());
    let found = found.expect("a text that fits")?;
    Some(Judged { right, measures: [found.raw(), found.norm(), found.answer()] })
}

/// The share of pairs of a right and a wrong answer of which the right one scores higher; ties count half.
fn area(scored: &[(f64, bool)]) -> f64 {
    let (mut pairs, mut won) = (0.0, 0.0);
    for (right, _) in scored.iter().filter(|(_, right)| *right) {
        for (wrong, _) in scored.iter().filter(|(_, right)| !*right) {
            pairs += 1.0;
            won += if right > wrong {
                1.0
            } else if right == wrong {
                0.5
            } else {
                0.0
            };
        }
    }
    won / f64::max(pairs, 1.0)
}

/// `Σ_b n_b / n · |share right − mean score|` over equal bins of the score.
fn calibration_error(scored: &[(f64, bool)]) -> f64 {
    let mut error = 0.0;
    for bin in 0..BINS {
        let inside = |score: f64| ((score * BINS as f64) as usize).min(BINS - 1) == bin;
        let of_bin: Vec<&(f64, bool)> = scored.iter().filter(|(score, _)| inside(*score)).collect();
        let right = of_bin.iter().filter(|(_, right)| *right).count() as f64;
        let score: f64 = of_bin.iter().map(|(score, _)| score).sum();
        error += (right - score).abs() / scored.len().max(1) as f64;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_and_calibration_error_are_those_of_small_cases() {
        let scored = [(0.9, true), (0.8, false), (0.7, true), (0.1, false)];
        assert_eq!(area(&scored), 0.75);
        assert_eq!(area(&[(0.5, true), (0.5, false)]), 0.5);
        assert_eq!(area(&[(0.5, true)]), 0.0);
        assert!((calibration_error(&scored) - (0.1 + 0.8 + 0.3 + 0.1) / 4.0).abs() < 1e-12);
        let sure = [(1.0, true), (1.0, true), (0.0, false)];
        assert_eq!(calibration_error(&sure), 0.0);
    }
}

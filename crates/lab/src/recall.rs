//! What a model still finds in a text under some cache policies that share the reading of its prompt.

use std::ops::Range;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Sampler, Sequence, SharedPrefill, TextModel};
use headwise_models::decoder::Induction;
use headwise_tasks::{Request, Sample, TokenTask};

/// The percentage of single needles in texts of `length` tokens that `model` finds under each of `policies`; a text for each of
/// `seeds`. The question is part of the prompt.
///
/// # Panics
/// If a policy does not fit the model, or they cannot share a prompt.
pub fn needles<const N: usize>(model: &TextModel, policies: [&str; N], length: usize, seeds: Range<u64>) -> [f64; N] {
    let policies = policies.map(policy);
    let mut prefill = shared(&model.engine, &policies);
    percent(seeds, |seed| {
        let sample = needle(model, length, seed);
        let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix).expect("plain text");
        let read = prefill.read(&ids, |_| {}).expect("a prompt that fits");
        policies.each_ref().map(|policy| {
            let mut sequence = read.under(policy).expect("a policy that fits");
            answer(model, &mut sequence, read.logits(), &sample)
        })
    })
}

/// The needle of `seed` in a text of `length` tokens of `model`.
pub fn needle(model: &TextModel, length: usize, seed: u64) -> Sample {
    let task = headwise_tasks::find("needle_single_1").expect("it is one of the tasks");
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    task.sample(&Request::new(length, &count).seed(seed)).expect("a task that fits")
}

/// The score, 0 to 1, of what `model` writes after `sequence`, whose last scores are `logits`.
pub fn answer(model: &TextModel, sequence: &mut Sequence, logits: &[f32], sample: &Sample) -> f64 {
    /// Tokens of the longest answer.
    const TOKENS: usize = 32;
    let stop = model.tokenizer.end_of_generation_ids();
    let mut written = vec![Sampler::greedy().choose(logits)];
    while written.len() < TOKENS && !written.last().is_some_and(|id| stop.contains(id)) {
        let logits = model.engine.step(sequence, written[written.len() - 1]).expect("a text that fits");
        written.push(Sampler::greedy().choose(logits.last()));
    }
    sample.score(&model.tokenizer.decode(&written, true)) / 100.0
}

/// The percentage of texts `… A B …` of `length` tokens that the hand-built model `engine` continues by `B` under each of
/// `policies` when `A` is written after them; a text for each of `seeds`.
///
/// # Panics
/// If a policy does not fit the model, or they cannot share a prompt.
pub fn induction<const N: usize>(engine: &Engine, policies: [&str; N], length: usize, seeds: Range<u64>) -> [f64; N] {
    let policies = policies.map(policy);
    let mut prefill = shared(engine, &policies);
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length, position: None };
    percent(seeds, |seed| {
        let sample = task.sample(seed).expect("a task that fits");
        let (question, text) = sample.tokens.split_last().expect("a task of some tokens");
        let ids: Vec<u32> = std::iter::once(Induction::START).chain(text.iter().copied()).collect();
        let read = prefill.read(&ids, |_| {}).expect("a prompt of known tokens");
        policies.each_ref().map(|policy| {
            let mut sequence = read.under(policy).expect("a policy that fits");
            let logits = engine.step(&mut sequence, *question).expect("a known token");
            let found = Sampler::greedy().choose(logits.last());
            f64::from(u8::from(sample.queries.iter().all(|query| query.answer == found)))
        })
    })
}

fn policy(text: &str) -> CachePolicy {
    CachePolicy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn shared<'a>(engine: &'a Engine, policies: &[CachePolicy]) -> SharedPrefill<'a> {
    SharedPrefill::new(engine, &policies.iter().collect::<Vec<_>>())
        .expect("policies that wait for the end of a prompt")
}

/// The means over `seeds` of `scores`, 0 to 1, in percent.
fn percent<const N: usize>(seeds: Range<u64>, mut scores: impl FnMut(u64) -> [f64; N]) -> [f64; N] {
    let count = (seeds.end - seeds.start).max(1) as f64;
    let mut sums = [0.0; N];
    for seed in seeds {
        sums.iter_mut().zip(scores(seed)).for_each(|(sum, score)| *sum += score);
    }
    sums.map(|sum| 100.0 * sum / count)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::decoder::Weights;

    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_is_dropped_is_not() {
        let engine = Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 1).unwrap();
        let [full, none] = induction(&engine, ["full", "streaming(budget=1, sinks=0)"], 200, 3..9);
        assert_eq!(full, 100.0);
        assert!(none < 50.0, "{none} %");
    }
}

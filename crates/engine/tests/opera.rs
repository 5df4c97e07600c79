//! OPERA is beam search without its penalty, and what it went back to is what was there.

mod small;

use std::ops::Range;

use headwise_engine::{
    BeamSearch, Engine, EngineError, Generation, Hypothesis, Opera, OperaAnswers, Sampler, beam_search, generate,
};
use small::*;

fn search(engine: &Engine, text: &str, method: &Opera, prompt: &[u32], evidence: Range<usize>) -> OperaAnswers {
    let generation = Generation { tokens: 24, stop: vec![7] };
    method.search(engine, &policy(text), prompt, evidence, &generation, |_| {}).unwrap()
}

fn plain(beams: usize) -> Opera {
    Opera { beams, candidates: beams, alpha: 0.0, repeats: usize::MAX, ..Opera::default() }
}

/// The log-probability of `answer` after `prompt`, read token by token in one text.
fn log_probability(engine: &Engine, prompt: &[u32], answer: &Hypothesis) -> f64 {
    let mut sequence = engine.sequence(&policy("f32")).unwrap();
    let mut logits = engine.prefill(&mut sequence, prompt, |_| {}).unwrap();
    let mut sum = 0.0;
    let end = answer.stopped.then_some(7);
    for &id in answer.ids.iter().chain(&end) {
        let scores = logits.last();
        let total = scores.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        sum += f64::from(scores[id as usize]) - total;
        logits = engine.step(&mut sequence, id).unwrap();
    }
    sum
}

#[test]
fn without_penalty_it_is_beam_search() {
    let engine = engine(2);
    let prompt = ids(12, 40);
    for (text, beams) in [("f32", 1), ("full", 3), ("int8", 5)] {
        let generation = Generation { tokens: 24, stop: vec![7] };
        let sequence = engine.sequence(&policy(text)).unwrap();
        let beam = BeamSearch { beams, length_penalty: 1.0 };
        let expected = beam_search(&engine, sequence, &prompt, &generation, beam, |_| {}).unwrap();
        let found = search(&engine, text, &plain(beams), &prompt, 0..40);
        assert_eq!(found.rollbacks, 0);
        assert_eq!(found.answers, expected, "{text}, {beams} beams");
    }
}

#[test]
fn the_penalty_changes_what_is_written() {
    let engine = engine(2);
    let prompt = ids(12, 40);
    let free = search(&engine, "f32", &plain(3), &prompt, 0..40);
    let punished = Opera { alpha: 20.0, ..plain(3) };
    let drawn = search(&engine, "f32", &punished, &prompt, 5..15);
    assert_ne!(free.answers, drawn.answers);
    for answer in &drawn.answers {
        assert!((answer.log_probability - log_probability(&engine, &prompt, answer)).abs() < 1e-3);
        let length = (answer.ids.len() + usize::from(answer.stopped)) as f64;
        assert!((answer.score * length - answer.log_probability).abs() > 1e-3, "scores have the penalties in them");
    }
}

#[test]
fn after_going_back_the_state_is_the_one_that_was_there() {
    let engine = engine(2);
    let mut rollbacks = 0;
    for seed in 0..6 {
        let prompt = ids(40 + seed, 30);
        let eager = Opera { first: 2, repeats: 1, candidates: 2, beams: 2, alpha: 0.0, ..Opera::default() };
        let found = search(&engine, "f32", &eager, &prompt, 0..30);
        rollbacks += found.rollbacks;
        // Each place at most so often, and the one before it once.
        assert!(found.rollbacks <= 24 * 3);
        assert!(!found.answers.is_empty() && found.answers.len() <= 2);
        for answer in &found.answers {
            assert!(answer.stopped || answer.ids.len() == 24);
            let expected = log_probability(&engine, &prompt, answer);
            assert!((answer.log_probability - expected).abs() < 1e-3, "{} is not {expected}", answer.log_probability);
        }
        assert_eq!(found, search(&engine, "f32", &eager, &prompt, 0..30), "again, the same");
    }
    assert!(rollbacks > 5, "{rollbacks} times back");
}

#[test]
fn a_greedy_variant_leaves_the_token_it_went_back_for() {
    let engine = engine(2);
    let mut changed = 0;
    for seed in 0..6 {
        let prompt = ids(60 + seed, 30);
        let generation = Generation { tokens: 24, stop: vec![] };
        let mut sequence = engine.sequence(&policy("f32")).unwrap();
        let greedy = generate(&engine, &mut sequence, &prompt, &generation, &mut Sampler::greedy(), |_| true).unwrap();
        let once = Opera { first: 2, repeats: 1, candidates: 1, beams: 1, alpha: 0.0, ..Opera::default() };
        let found = once.search(&engine, &policy("f32"), &prompt, 0..30, &generation, |_| {}).unwrap();
        assert_eq!(found.rollbacks == 0, found.answers[0].ids == greedy.ids, "only going back changes a greedy answer");
        changed += usize::from(found.rollbacks > 0);
    }
    assert!(changed > 0);
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let engine = engine(1);
    let generation = Generation { tokens: 4, stop: vec![] };
    let refused = |method: Opera, text: &str| {
        method.search(&engine, &policy(text), &ids(1, 9), 0..9, &generation, |_| {}).unwrap_err().to_string()
    };
    for text in ["tova(budget=30)", "kivi2"] {
        assert!(refused(Opera::default(), text).contains("cannot take tokens back"));
    }
    assert!(refused(Opera { beams: 0, ..Opera::default() }, "full").contains("beams must be at least 1"));
    assert!(refused(Opera { candidates: 0, ..Opera::default() }, "full").contains("candidates"));
    assert!(refused(Opera { alpha: f64::NAN, ..Opera::default() }, "full").contains("alpha=NaN"));
    assert!(refused(Opera { scale: 0.0, ..Opera::default() }, "full").contains("scale=0"));
    let windowed = Engine::new(decoder([Some(16); LAYERS]), 1).unwrap();
    let error = Opera::default().search(&windowed, &policy("full"), &ids(1, 9), 0..9, &generation, |_| {}).unwrap_err();
    assert!(matches!(error, EngineError::NoWholeLayer));
}

//! How sure an answer is: every number from texts that are read anew.

mod small;

use headwise_engine::Engine;
use headwise_engine::confidence::{AnswerConfidence, Confidence};
use small::*;

/// `log p` of the token at `at` of `ids`, after the text before it.
fn log_probability(engine: &Engine, ids: &[u32], at: usize) -> f64 {
    let mut sequence = engine.sequence(&policy("f32")).unwrap();
    let logits = engine.prefill(&mut sequence, &ids[..at], |_| {}).unwrap();
    let total = logits.last().iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
    f64::from(logits.last()[ids[at] as usize]) - total
}

fn measure(engine: &Engine, method: Confidence, ids: &[u32]) -> AnswerConfidence {
    method.measure(engine, ids, 12, 37..39, |id| id % 5 == 0).unwrap()
}

#[test]
fn variants_have_the_probabilities_of_texts_read_anew() {
    let engine = engine(2);
    let mut changed = 0;
    for seed in 0..5 {
        let text = ids(seed, 40);
        let found = measure(&engine, Confidence::default(), &text);
        assert!(!found.chain.is_empty());
        assert!(found.chain.is_sorted() && found.chain.iter().all(|&token| (12..37).contains(&token)));
        assert!(
            found.chain.iter().all(|&token| !text[token].is_multiple_of(5)),
            "words without content are in no chain"
        );
        assert!(found.variants[0].change.is_none());
        for variant in &found.variants {
            let mut text = text.clone();
            if let Some((token, id)) = variant.change {
                assert!(found.chain.contains(&token) && text[token] != id);
                text[token] = id;
                changed += 1;
            }
            let chain: f64 = found.chain.iter().map(|&token| log_probability(&engine, &text, token)).sum();
            let answer: f64 = (37..39).map(|token| log_probability(&engine, &text, token)).sum();
            assert!((variant.chain - chain).abs() < 1e-3, "{variant:?}: {chain}");
            assert!((variant.answer - answer).abs() < 1e-3, "{variant:?}: {answer}");
        }
    }
    assert!(changed > 5, "{changed} variants");
}

#[test]
fn variants_exclude_each_other() {
    let engine = engine(2);
    for seed in 0..40 {
        let text = ids(100 + seed, 40);
        let found = measure(&engine, Confidence::default(), &text);
        let chains: f64 = found.variants.iter().map(|variant| variant.chain.exp()).sum();
        let best = found.variants.iter().map(|variant| variant.answer.exp()).fold(0.0, f64::max);
        assert!(chains <= 1.0 + 1e-9, "{chains}");
        assert!(found.raw() <= found.norm() * (1.0 + 1e-9) && found.norm() <= best * (1.0 + 1e-9));
    }
}

#[test]
fn without_variants_the_response_stands_alone() {
    let engine = engine(1);
    let alone = measure(&engine, Confidence { variants: 0, ..Confidence::default() }, &ids(1, 40));
    assert_eq!(alone.variants.len(), 1);
    let [only] = alone.variants[..] else { panic!("one variant") };
    assert!((alone.raw() - (only.chain + only.answer).exp()).abs() < 1e-12);
    assert!((alone.norm() - alone.answer()).abs() < 1e-12);
}

#[test]
fn answers_outside_the_response_are_refused() {
    let engine = engine(1);
    let text = ids(1, 40);
    for (prompt, answer) in [(0, 3..5), (12, 11..13), (12, 20..20), (12, 39..41)] {
        let refused = Confidence::default().measure(&engine, &text, prompt, answer.clone(), |_| false);
        assert!(refused.unwrap_err().to_string().contains(&format!("tokens {} to {}", answer.start, answer.end)));
    }
    let long = ids(1, CONTEXT + 1);
    assert!(Confidence::default().measure(&engine, &long, 12, 20..21, |_| false).is_err());
}

//! Prompts of which a part is chosen and read.

mod small;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Sequence};
use headwise_models::decoder::{Induction, Weights};
use small::{continued, engine, ids, policy};

/// The scores after the prompt and after each of `steps`, and what was read.
fn run(engine: &Engine, text: &str, prompt: &[u32], steps: &[u32]) -> (Vec<Vec<f32>>, Sequence) {
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    let mut logits = vec![engine.prefill(&mut sequence, prompt, |_| {}).unwrap().values];
    logits.extend(continued(engine, &mut sequence, steps));
    (logits, sequence)
}

#[test]
fn a_budget_for_everything_changes_nothing() {
    let engine = engine(2);
    let (prompt, steps) = (ids(1, 700), ids(2, 10));
    for text in ["gemfilter(budget=700)", "gemfilter(keep=1) + int8"] {
        let plain = text.split(" + ").nth(1).unwrap_or("full");
        assert!(run(&engine, text, &prompt, &steps).0 == run(&engine, plain, &prompt, &steps).0, "{text}");
    }
}

#[test]
fn the_layer_that_matches_picks_the_answer() {
    let model = Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap();
    let engine = Engine::new(model, 1).unwrap();
    let (a, b) = (251, 252);
    for at in [30, 300, 480] {
        let mut text: Vec<u32> = (0..600).map(|i| 1 + i * 7 % 241).collect();
        text[0] = Induction::START;
        (text[at], text[at + 1]) = (a, b);
        text.push(a);
        let chosen = format!("gemfilter(layer={}, rows=1, kernel=3, budget=60)", Induction::MATCH_LAYER);
        let mut sequence = engine.sequence(&policy(&chosen)).unwrap();
        let logits = engine.prefill(&mut sequence, &text, |_| {}).unwrap();
        assert_eq!(sequence.tokens(), 60);
        assert!(sequence.layers().iter().flat_map(|layer| layer.pairs()).all(|pairs| pairs.len() == 60));
        assert_eq!(largest(logits.last()), b, "from {at}");
        // What follows the prompt is read as it is.
        engine.prefill(&mut sequence, &[5, 6, a], |_| {}).unwrap();
        assert_eq!(sequence.tokens(), 63);

        let few = "gemfilter(layer=0, rows=1, kernel=3, budget=60)";
        let mut sequence = engine.sequence(&policy(few)).unwrap();
        let logits = engine.prefill(&mut sequence, &text, |_| {}).unwrap();
        assert_ne!(largest(logits.last()), b, "a layer that does not match cannot pick it");
    }
}

fn largest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

#[test]
fn it_combines_with_what_evicts_and_is_alone_of_its_kind() {
    let engine = engine(2);
    let (prompt, steps) = (ids(1, 600), ids(2, 5));
    let (logits, sequence) =
        run(&engine, "gemfilter(budget=200) + snapkv(budget=40, window=8) + int8", &prompt, &steps);
    assert!(logits.iter().flatten().all(|x| x.is_finite()));
    assert!(sequence.layers().iter().all(|layer| layer.longest() <= 40 + steps.len()));
    for (text, says) in [
        ("gemfilter(keep=0.5) + gemfilter(keep=0.5)", "both choose"),
        ("gemfilter", "exactly one of"),
        ("gemfilter(keep=0.5, rows=0)", "at least 1"),
        ("full + gemfilter(keep=0.5)", "keeps every pair"),
    ] {
        let error = CachePolicy::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "`{text}`: {error}");
    }
    let mut sequence = engine.sequence(&policy("gemfilter(keep=0.5, layer=9)")).unwrap();
    let error = engine.prefill(&mut sequence, &prompt, |_| {}).unwrap_err().to_string();
    assert!(error.contains("layer=9") && error.contains("[0, 1, 2]"), "{error}");
    assert_eq!(sequence.tokens(), 0);
}

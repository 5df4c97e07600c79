//! Tokens that leave the model early.

mod small;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{EarlyExit, Engine, Generation, Sampler, Sequence, generate};
use small::{LAYERS, decoder, engine, ids};

fn sequence(engine: &Engine, policy: &str) -> Sequence {
    engine.sequence(&CachePolicy::parse(policy).unwrap()).unwrap()
}

fn generation() -> Generation {
    Generation { tokens: 24, stop: Vec::new() }
}

#[test]
fn who_leaves_always_is_the_model_without_the_other_layers() {
    let (whole, prompt) = (engine(2), ids(3, 40));
    for layer in 1..LAYERS {
        let mut short = decoder([None; LAYERS]);
        short.keep_layers(&(0..layer).collect::<Vec<_>>());
        let short = Engine::new(short, 2).unwrap();
        let (mut left, mut expected) = (sequence(&whole, "full"), sequence(&short, "full"));
        whole.prefill(&mut left, &prompt, |_| {}).unwrap();
        short.prefill(&mut expected, &prompt, |_| {}).unwrap();
        let exit = EarlyExit { layer, confidence: 0.0, every: 1 };
        for id in ids(4, 12) {
            let (found, passed) = whole.step_exiting(&mut left, id, &exit).unwrap();
            assert_eq!((found, passed), (short.step(&mut expected, id).unwrap(), layer));
        }
        // Every layer has a pair for every token.
        assert!(left.layers().iter().all(|store| store.pairs().iter().all(|pairs| pairs.len() == 52)));
    }
}

#[test]
fn who_never_leaves_is_the_model() {
    let (engine, prompt) = (engine(2), ids(5, 30));
    let exit = EarlyExit { layer: LAYERS, confidence: 0.0, every: 1 };
    let (mut one, mut other) = (sequence(&engine, "int8"), sequence(&engine, "int8"));
    let found = exit.generate(&engine, &mut one, &prompt, &generation(), &mut Sampler::greedy(), |_| true).unwrap();
    let expected = generate(&engine, &mut other, &prompt, &generation(), &mut Sampler::greedy(), |_| true).unwrap();
    assert_eq!((found.ids.len(), &found.ids), (24, &expected.ids));
    assert_eq!((found.layers.len(), found.mean_layers()), (23, LAYERS as f64));
    assert_eq!(one.bytes().total(), other.bytes().total());
}

#[test]
fn the_surer_a_layer_must_be_the_later_tokens_leave() {
    let engine = engine(2);
    let mean = |confidence| {
        let exit = EarlyExit { layer: 1, confidence, every: 1 };
        let mut sequence = sequence(&engine, "full");
        let step = |id: u32| engine.step_exiting(&mut sequence, id, &exit).unwrap().1;
        ids(7, 40).into_iter().map(step).sum::<usize>()
    };
    assert_eq!(mean(0.0), 40);
    assert_eq!(mean(1.0), 40 * LAYERS);
    assert!(mean(0.1) <= mean(0.5));
}

#[test]
fn what_cannot_be_is_named() {
    let engine = engine(1);
    let error = |policy: &str, exit: EarlyExit| {
        let mut sequence = sequence(&engine, policy);
        engine.step_exiting(&mut sequence, 1, &exit).unwrap_err().to_string()
    };
    assert!(error("full", EarlyExit { layer: 0, ..EarlyExit::default() }).contains("layer=0"));
    assert!(error("full", EarlyExit { layer: LAYERS + 1, ..EarlyExit::default() }).contains("the layers of the model"));
    assert!(error("full", EarlyExit { confidence: 1.5, ..EarlyExit::default() }).contains("confidence=1.5"));
    assert!(error("full", EarlyExit { every: 0, ..EarlyExit::default() }).contains("every"));
    assert!(error("h2o(budget=16)", EarlyExit::default()).contains("only stores"));
    assert!(error("quest(budget=128)", EarlyExit::default()).contains("only stores"));
}

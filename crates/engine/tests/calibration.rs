//! `act` in a whole model: what it leaves alone, and what it moves.

mod small;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, EngineError, Wanted};
use small::*;

/// Every head of every layer.
fn all_heads() -> String {
    let heads: Vec<String> =
        (0..LAYERS).flat_map(|layer| (0..HEADS).map(move |head| format!("[{layer}, {head}]"))).collect();
    format!("heads=[{}]", heads.join(", "))
}

#[test]
fn nothing_changes_where_sinks_keep_their_weight_or_there_are_none() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 700), ids(2, 9));
    let (expected, _) = run(&engine, "full", &prompt, &steps);
    let (none, sequence) = run(&engine, &format!("act(alpha=1000000, {})", all_heads()), &prompt, &steps);
    assert_eq!(none, expected);
    assert!(sequence.layers().iter().all(|layer| layer.sinks().iter().all(Vec::is_empty)));
    let (same, sequence) = run(&engine, &format!("act(beta=1, alpha=1, {})", all_heads()), &prompt, &steps);
    assert!(sequence.layers().iter().any(|layer| layer.sinks().iter().any(|sinks| !sinks.is_empty())));
    for (same, expected) in same.iter().flatten().zip(expected.iter().flatten()) {
        assert!((same - expected).abs() <= 1e-4, "{same} {expected}");
    }
}

#[test]
fn sinks_lose_attention_and_rows_are_the_same_alone_and_together() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 700), ids(2, 9));
    let text = format!("act(beta=0.2, alpha=1.2, {}) + snapkv(keep=0.8, window=8)", all_heads());
    let (alone, sequence) = run(&engine, &text, &prompt, &steps);
    let (before, _) = run(&engine, "snapkv(keep=0.8, window=8)", &prompt, &steps);
    assert_ne!(alone, before);
    for layer in sequence.layers() {
        for (sinks, pairs) in layer.sinks().iter().zip(layer.pairs()) {
            assert!(sinks.iter().all(|sink| pairs.positions().contains(sink)), "sinks follow their slots");
        }
    }
    let policy = CachePolicy::parse(&format!("act(beta=0.2, alpha=1.2, {})", all_heads())).unwrap();
    let (mut together, mut apart) = (engine.sequence(&policy).unwrap(), engine.sequence(&policy).unwrap());
    for sequence in [&mut together, &mut apart] {
        engine.prefill(sequence, &prompt, |_| {}).unwrap();
    }
    let chunk = Chunk { sequence: &mut together, ids: &steps, prompt_ends: true, wanted: Wanted::All };
    let rows = engine.forward(&mut [chunk]).unwrap();
    for (row, id) in rows[0].rows().zip(&steps) {
        assert_eq!(row, engine.step(&mut apart, *id).unwrap().last());
    }
}

#[test]
fn heads_that_are_not_there_are_named() {
    let engine = engine(1);
    for (heads, says) in [("[[9, 0]]", "layers, counted from 0"), ("[[0, 99]]", "query heads, counted from 0")] {
        let policy = CachePolicy::parse(&format!("act(heads={heads})")).unwrap();
        let error = engine.sequence(&policy).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Policy(_)) && error.to_string().contains(says), "{error}");
    }
}

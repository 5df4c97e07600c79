//! Vectors of texts: by definition, and the same whatever they are computed with.

mod small;

use burn::tensor::Device;
use headwise_engine::{EngineError, Pooling};
use headwise_nn::mixer::Segment;
use headwise_ops::host::Host;
use small::*;

#[test]
fn a_text_has_the_same_vector_alone_and_among_others() {
    let engine = engine(2);
    let texts: Vec<Vec<u32>> = [3, 600, 1, 200, 512, 90, 513, 40, 1000].map(|tokens| ids(tokens as u64, tokens)).into();
    for pooling in [Pooling::Mean, Pooling::Last] {
        let together = engine.embed(&texts, pooling).unwrap();
        for (ids, together) in texts.iter().zip(&together) {
            let alone = engine.embed(std::slice::from_ref(ids), pooling).unwrap();
            assert!(alone[0] == *together, "{} tokens, {pooling:?}", ids.len());
            let length: f64 = together.iter().map(|&value| f64::from(value).powi(2)).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    }
}

#[test]
fn vectors_are_those_that_the_head_reads() {
    let engine = engine(1);
    let ids = ids(5, 70);
    let positions: Vec<i32> = (0..70).collect();
    let segments = [Segment { sequence: 0, rows: 0..70 }];
    let hidden = Host::new(engine.model().hidden(&ids, &positions, &segments, &Device::flex()));
    let rows: Vec<&[f32]> = hidden.as_slice().chunks_exact(engine.spec().dim).collect();
    let mean = |channel: usize| rows.iter().map(|row| f64::from(row[channel])).sum::<f64>() / 70.0;
    let last = |channel: usize| f64::from(rows[69][channel]);
    let expected: [Vec<f64>; 2] =
        [(0..engine.spec().dim).map(mean).collect(), (0..engine.spec().dim).map(last).collect()];
    for (pooling, expected) in [Pooling::Mean, Pooling::Last].into_iter().zip(expected) {
        let found = engine.embed(std::slice::from_ref(&ids), pooling).unwrap();
        let length = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
        for (found, expected) in found[0].iter().zip(&expected) {
            assert!((f64::from(*found) - expected / length).abs() < 1e-4, "{pooling:?}: {found} {}", expected / length);
        }
    }
}

#[test]
fn a_text_that_cannot_be_read_is_an_error() {
    let engine = engine(1);
    let embed = |ids: Vec<u32>| engine.embed(&[vec![1], ids], Pooling::Mean);
    assert!(matches!(embed(vec![]), Err(EngineError::EmptyPrompt)));
    assert!(matches!(embed(vec![VOCABULARY as u32]), Err(EngineError::UnknownToken { .. })));
    assert!(matches!(embed(vec![1; CONTEXT + 1]), Err(EngineError::ContextOverflow { .. })));
    assert!(engine.embed(&[], Pooling::Mean).unwrap().is_empty());
}

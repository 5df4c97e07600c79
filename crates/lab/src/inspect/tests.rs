//! Against the induction model, whose heads are known.

use burn::tensor::Device;
use headwise_models::decoder::{Induction, Weights};

use super::*;

const TOKENS: usize = 300;

fn engine() -> Engine {
    let model = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("the model is built in");
    Engine::new(model, 2).expect("two threads")
}

/// The first token, then tokens without repetition nearby.
fn ids() -> Vec<u32> {
    std::iter::once(Induction::START).chain((1..TOKENS as u32).map(|i| 1 + (i * 97) % 255)).collect()
}

fn head(inspection: &Inspection, layer: usize, head: usize) -> &HeadRow {
    inspection.heads.iter().find(|row| (row.layer, row.head) == (layer, head)).expect("the head exists")
}

#[test]
fn heads_are_seen_as_they_were_built() {
    let inspection = inspect(&engine(), "toy", &ids(), |_| {}).expect("it runs");
    assert_eq!(inspection.heads.len(), 8);

    // Every query but the first looks at the token before it.
    let previous = head(&inspection, 0, 0);
    let expected = (TOKENS - 1) as f64 / TOKENS as f64;
    assert!((previous.distance - expected).abs() < 1e-3, "{previous:?}");
    assert!(previous.entropy < 1e-3 && previous.sink < 2.1 / TOKENS as f64, "{previous:?}");
    let rest = previous.distance_of_rest.expect("nearly all is left");
    assert!((rest - 1.0).abs() < 1e-3, "{previous:?}");

    for (layer, index) in [(0, 2), (1, 2)] {
        let start = head(&inspection, layer, index);
        assert!(start.sink > 0.99 && start.first_four >= start.sink, "{start:?}");
        let (farthest, tolerance) = (0.5 * (TOKENS - 1) as f64, 0.01 * TOKENS as f64);
        assert!((start.distance - farthest).abs() < tolerance && start.entropy < 0.1, "{start:?}");
    }
}

#[test]
fn a_head_that_sees_all_evenly_has_the_closed_form() {
    let inspection = inspect(&engine(), "toy", &ids(), |_| {}).expect("it runs");
    let mean = |value: fn(f64) -> f64| (1..=TOKENS).map(|seen| value(seen as f64)).sum::<f64>() / TOKENS as f64;
    for (layer, index) in [(0, 3), (1, 1), (1, 3)] {
        let row = head(&inspection, layer, index);
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-4 * expected.max(1.0);
        assert!(near(row.entropy, mean(f64::ln)) && near(row.even_entropy, mean(f64::ln)), "{row:?}");
        assert!(near(row.distance, 0.25 * (TOKENS - 1) as f64) && near(row.even_distance, row.distance), "{row:?}");
        assert!(near(row.sink, mean(|seen| 1.0 / seen)), "{row:?}");
        assert!(near(row.first_four, mean(|seen| 4f64.min(seen) / seen)), "{row:?}");
    }
}

#[test]
fn the_probe_changes_nothing() {
    let (engine, ids) = (engine(), ids());
    let (x, layers) = engine.install(|| run(&engine, &ids, |_| {}));
    assert_eq!(layers.len(), 2);
    let rows: Vec<usize> = (0..ids.len()).collect();
    let probed = engine.model().head(x, &rows).into_data().try_into_vec::<f32>().expect("floats");
    let plain = engine.model().forward(&ids, &Device::flex()).into_data().try_into_vec::<f32>().expect("floats");
    for (probed, plain) in probed.iter().zip(&plain) {
        assert!((probed - plain).abs() < 1e-3, "{probed} {plain}");
    }
}

#[test]
fn attention_received_is_all_of_it() {
    let inspection = inspect(&engine(), "toy", &ids(), |_| {}).expect("it runs");
    for shares in [&inspection.received, &inspection.received_evenly] {
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    }
    let tokens = inspection.tokens(&ids(), 3, |id| format!("token {id}"));
    assert_eq!((tokens.len(), tokens[0].position, tokens[0].text.as_str()), (3, 0, "token 0"));
    // Two of eight heads look at nothing else.
    assert!(tokens[0].share > 0.25 && tokens[0].times_even > 5.0, "{tokens:?}");
    assert!(tokens[1].share <= tokens[0].share && tokens[2].share <= tokens[1].share);
}

#[test]
fn a_text_that_cannot_be_read_is_an_error() {
    let engine = engine().with_context(8);
    let error = |ids: &[u32]| inspect(&engine, "toy", ids, |_| {}).expect_err("not a text").to_string();
    assert!(error(&[]).contains("the prompt is empty"));
    assert!(error(&[0, 256]).contains("token 256 is not in the model's vocabulary of 256"));
    assert!(error(&[0; 9]).contains("9 tokens do not fit the context of 8"));
}

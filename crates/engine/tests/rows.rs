//! A row has the same bits whatever other rows, sequences, chunks and threads there are.

mod small;

use headwise_engine::{Chunk, Logits, Sequence, Wanted};
use small::*;

/// A sequence, the prompt it has left, and the tokens to write after it.
struct Text {
    policy: String,
    prompt: Vec<u32>,
    steps: Vec<u32>,
}

fn texts() -> Vec<Text> {
    let text = |policy: &str, seed, tokens, steps| Text {
        policy: policy.into(),
        prompt: ids(seed, tokens),
        steps: ids(seed + 100, steps),
    };
    vec![
        text("snapkv(budget=40, window=8)", 1, 83, 20),
        text("streaming(budget=20, slack=0) + int8", 2, 33, 40),
        text("h2o(budget=30)", 3, 140, 11),
        text("snapkv(budget=120, window=8) + quest(budget=96, dense_layers=0) + int8", 4, 150, 15),
    ]
}

#[test]
fn sequences_in_one_forward_equal_each_alone() {
    let engine = engine(2);
    let texts = texts();
    let alone: Vec<Vec<Vec<f32>>> =
        texts.iter().map(|text| run(&engine, &text.policy, &text.prompt, &text.steps).0).collect();

    // Chunks of different sizes, so that some sequences already write while others still read.
    let sizes = [16, 33, 29, 40];
    let mut sequences: Vec<Sequence> =
        texts.iter().map(|text| engine.sequence(&policy(&text.policy)).unwrap()).collect();
    let mut together: Vec<Vec<Vec<f32>>> = vec![Vec::new(); texts.len()];
    let mut mixed = false;
    loop {
        let mut whose = Vec::new();
        let mut chunks = Vec::new();
        for (index, (sequence, text)) in sequences.iter_mut().zip(&texts).enumerate() {
            let done = sequence.tokens();
            let ids = match text.prompt.get(done..) {
                Some(rest) if !rest.is_empty() => &rest[..rest.len().min(sizes[index])],
                _ => match text.steps.get(done - text.prompt.len()..) {
                    Some([next, ..]) => std::slice::from_ref(next),
                    _ => continue,
                },
            };
            let prompt_ends = done + ids.len() >= text.prompt.len();
            whose.push((index, prompt_ends));
            chunks.push(Chunk { sequence, ids, prompt_ends, wanted: Wanted::Last });
        }
        if chunks.is_empty() {
            break;
        }
        mixed |= chunks.iter().any(|chunk| chunk.ids.len() == 1) && chunks.iter().any(|chunk| chunk.ids.len() > 1);
        let logits: Vec<Logits> = engine.forward(&mut chunks).unwrap();
        for ((index, ended), logits) in whose.into_iter().zip(logits) {
            if ended {
                together[index].push(logits.values);
            }
        }
    }
    assert!(mixed, "some forwards read and write at once");
    for ((text, together), alone) in texts.iter().zip(&together).zip(&alone) {
        assert_eq!(together.len(), alone.len());
        for (step, (together, alone)) in together.iter().zip(alone).enumerate() {
            assert!(together == alone, "{} at step {step}", text.policy);
        }
    }
}

#[test]
fn chunks_of_the_prompt_change_nothing() {
    let engine = engine(2);
    let (prompt, steps) = (ids(7, 150), ids(8, 12));
    for name in EVICTING.map(|name| with(name, "budget=40")).iter().map(String::as_str).chain(["full", "int8"]) {
        let codec = if name == "int8" { "" } else { " + f32" };
        let text = format!("{name}{codec}");
        let (whole, kept) = run(&engine, &text, &prompt, &steps);
        for chunk in [1, 7, 64] {
            let mut sequence = engine.sequence(&policy(&text)).unwrap();
            let logits = read(&engine, &mut sequence, &prompt, chunk).values;
            assert!(logits == whole[0], "{text} in chunks of {chunk}: the prompt");
            let logits = continued(&engine, &mut sequence, &steps);
            assert!(logits == whole[1..], "{text} in chunks of {chunk}: the steps after it");
            assert_eq!(positions(&sequence), positions(&kept), "{text} in chunks of {chunk}");
        }
    }
}

#[test]
fn threads_change_nothing() {
    let (one, two) = (engine(1), engine(2));
    let (prompt, steps) = (ids(7, 150), ids(8, 12));
    for name in EVICTING {
        let text = with(name, "budget=40");
        let (expected, kept) = run(&one, &text, &prompt, &steps);
        let (found, also_kept) = run(&two, &text, &prompt, &steps);
        assert!(found == expected, "{text}");
        assert_eq!(positions(&also_kept), positions(&kept), "{text}");
    }
}

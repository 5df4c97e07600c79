//! A row has the same bits whatever other rows, sequences, chunks and threads there are.

mod small;

use headwise_engine::{
    Chunk, EngineError, Generation, Logits, Prompt, Sampler, Sequence, Wanted, Writing, generate, generate_all,
};
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

#[test]
fn packed_prompts_are_read_as_each_alone() {
    let engine = engine(2);
    let lengths = [1, 700, 33, 513, 512, 90, 1, 257];
    let policies = ["full", "snapkv(budget=40, window=8, when=chunk)", "h2o(budget=30) + int8"];
    for policy_text in policies {
        let policy = policy(policy_text);
        let prompts: Vec<Vec<u32>> = lengths.iter().zip(1..).map(|(&length, seed)| ids(seed, length)).collect();
        let mut alone: Vec<Sequence> = prompts.iter().map(|_| engine.sequence(&policy).unwrap()).collect();
        let mut packed = alone.clone();
        let expected: Vec<Logits> = alone
            .iter_mut()
            .zip(&prompts)
            .map(|(sequence, prompt)| engine.prefill(sequence, prompt, |_| {}).unwrap())
            .collect();
        let mut read = Vec::new();
        let mut items: Vec<Prompt<'_>> =
            packed.iter_mut().zip(&prompts).map(|(sequence, ids)| Prompt { sequence, ids }).collect();
        assert!(engine.prefill_all(&mut items, |tokens| read.push(tokens)).unwrap() == expected, "{policy_text}");
        assert_eq!(read.last(), Some(&lengths.iter().sum()));
        for (alone, packed) in alone.iter_mut().zip(&mut packed) {
            assert_eq!(alone.bytes(), packed.bytes());
            assert!(engine.step(alone, 3).unwrap() == engine.step(packed, 3).unwrap(), "{policy_text}");
        }
    }
}

#[test]
fn a_prompt_that_cannot_be_read_leaves_all_others_alone() {
    let engine = engine(1);
    let mut sequences = vec![engine.sequence(&policy("full")).unwrap(); 2];
    let prompts = [ids(1, 9), vec![VOCABULARY as u32]];
    let mut items: Vec<Prompt<'_>> =
        sequences.iter_mut().zip(&prompts).map(|(sequence, ids)| Prompt { sequence, ids }).collect();
    assert!(matches!(engine.prefill_all(&mut items, |_| {}), Err(EngineError::UnknownToken { .. })));
    assert!(sequences.iter().all(|sequence| sequence.tokens() == 0));
}

#[test]
fn texts_written_together_are_those_written_alone() {
    let engine = engine(2);
    let prompts: Vec<Vec<u32>> =
        [5, 60, 1, 17, 40, 9, 33, 2].into_iter().zip(20..).map(|(length, seed)| ids(seed, length)).collect();
    let generation = Generation { tokens: 15, stop: vec![7, 31] };
    let sampler = |index: usize| Sampler::new(1.0, 0, 0.9, index as u64);
    let policy = policy("snapkv(budget=24, window=8)");
    let mut together: Vec<Writing> = (0..prompts.len())
        .map(|index| Writing::new(engine.sequence(&policy).unwrap(), prompts[index].clone(), sampler(index)))
        .collect();
    generate_all(&engine, &mut together, &generation, |_| {}).unwrap();
    for (index, writing) in together.iter().enumerate() {
        let mut sequence = engine.sequence(&policy).unwrap();
        let alone = generate(&engine, &mut sequence, &prompts[index], &generation, &mut sampler(index), |_| true);
        let alone = alone.unwrap();
        assert_eq!((writing.written(), writing.stopped()), (&alone.ids[..], alone.stopped));
    }
    assert!(together.iter().any(Writing::stopped) && together.iter().any(|writing| !writing.stopped()));
}

//! Policies of reading: all pairs stay, and a row after the prompt reads some of them.

mod small;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, Sequence, Wanted};
use headwise_kernels::kv::{Codec, PAGE};
use headwise_models::decoder::{Induction, Weights};
use small::*;

/// `method` with a budget of `budget` pairs.
fn at(method: &str, budget: usize) -> String {
    with(method, &format!("budget={budget}"))
}

#[test]
fn misuse_is_refused_and_named() {
    let refused = [
        ("quest(page=16)", "multiple of 32"),
        ("quest(page=0)", "multiple of 32"),
        ("quest(budget=95)", "at least 3 pages of 32"),
        ("quest(budget=128, page=64)", "at least 3 pages of 64"),
        ("quest(keep=0.5)", "budget"),
        ("token_select(recent=0)", "recent=0"),
        ("token_select(budget=144)", "above sinks + recent = 16 + 128"),
        ("token_select(similarity=nan)", "similarity"),
        ("recycled(stride=0)", "stride=0"),
        ("recycled(budget=9)", "at least stride=10"),
        ("recycled(kernel=4)", "odd"),
        ("long_heads(chunk=0)", "chunk=0"),
        ("long_heads(budget=255)", "at least 4 chunks of 64"),
        ("long_heads(budget=100, chunk=32)", "at least 4 chunks of 32"),
        ("hip(recent=0)", "recent=0"),
        ("hip(block=0)", "block=0"),
        ("hip(refresh=0)", "refresh=0"),
        ("hip(budget=280)", "16 + 256 + 7 + 2"),
        ("hip(sinks=18446744073709551615)", "nothing to search for"),
        ("hip(representative=last)", "center"),
        ("hip + long_heads", "`hip` and `long_heads`"),
        ("long_heads + streaming(keep=0.5)", "`streaming(keep=0.5)` and `long_heads`"),
        ("quest + token_select", "`quest` and `token_select`"),
        ("quest + quest(budget=96)", "takes one"),
        ("token_select + streaming(keep=0.5)", "`streaming(keep=0.5)` and `token_select`"),
        ("knorm(keep=0.5) + knorm(keep=0.4, reindex=true) + token_select", "knorm(keep=0.4"),
    ];
    for (text, says) in refused {
        let error = CachePolicy::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "`{text}`: {error}");
    }
    for text in [
        "token_select(reindex=false) + streaming(keep=0.5)",
        "long_heads(reindex=false) + streaming(keep=0.5)",
        "quest + streaming(keep=0.5)",
        "hip + streaming(keep=0.5)",
        "full + quest",
    ] {
        assert!(CachePolicy::parse(text).is_ok(), "{text}");
    }
    let all = READING.iter().map(|method| format!("snapkv(keep=0.5) + {method} + int8"));
    for text in all.chain([
        "quest(budget=1024, page=64)".into(),
        "token_select(shared=false)".into(),
        "hip(representative=first)".into(),
    ]) {
        let canonical = policy(&text).to_string();
        assert_eq!(policy(&canonical).to_string(), canonical, "{text}");
    }
}

#[test]
fn a_budget_for_everything_changes_nothing() {
    let engine = engine(2);
    let (prompt, steps) = (ids(1, 130), ids(2, 40));
    for codec in ["f32", "f16", "int8", "kivi4"] {
        let (full, _) = run(&engine, codec, &prompt, &steps);
        for method in READING {
            let text = format!("{} + {codec}", at(method, 170));
            let (logits, sequence) = run(&engine, &text, &prompt, &steps);
            assert!(logits == full, "{text} changes the scores");
            assert_eq!(sequence.pairs_read().read, sequence.pairs_read().held, "{text}");
        }
    }
}

#[test]
fn no_token_reads_more_than_the_budget() {
    let engine = engine(1);
    let prompt = ids(3, 300);
    for method in READING.into_iter().filter(|method| !method.starts_with("recycled")) {
        for budget in [96, 127, 160] {
            let text = at(method, budget);
            let mut sequence = engine.sequence(&policy(&text)).unwrap();
            read(&engine, &mut sequence, &prompt, 64);
            assert_eq!(sequence.pairs_read().read, 0, "{text}: the prompt is read with full attention");
            for (step, id) in ids(4, 40).into_iter().enumerate() {
                let before = sequence.pairs_read();
                engine.step(&mut sequence, id).unwrap();
                let after = sequence.pairs_read();
                let heads = LAYERS * KV_HEADS;
                assert_eq!(after.held - before.held, heads * (301 + step), "{text}");
                let read = after.read - before.read;
                assert!((heads..=heads * budget).contains(&read), "{text}: {read} pairs at step {step}");
            }
            assert!(lengths(&sequence).iter().flatten().all(|&pairs| pairs == 340), "{text}: every pair stays");
        }
    }
}

#[test]
fn recycled_reads_everything_at_every_stride() {
    let engine = engine(1);
    for (stride, budget) in [(1, 50), (4, 50), (7, 100)] {
        let text = format!("recycled(budget={budget}, stride={stride}) + f32");
        let mut sequence = engine.sequence(&policy(&text)).unwrap();
        read(&engine, &mut sequence, &ids(3, 300), 300);
        for (step, id) in ids(4, 30).into_iter().enumerate() {
            let before = sequence.pairs_read().read;
            engine.step(&mut sequence, id).unwrap();
            let pairs = match step % stride {
                0 => 301 + step,
                since => budget - (stride - 1) + since,
            };
            assert_eq!(sequence.pairs_read().read - before, LAYERS * KV_HEADS * pairs, "{text}, step {step}");
        }
        if stride == 1 {
            let logits = run(&engine, &text, &ids(3, 300), &ids(4, 30)).0;
            assert!(logits == run(&engine, "f32", &ids(3, 300), &ids(4, 30)).0);
        }
    }
}

#[test]
fn the_first_layers_of_quest_read_everything() {
    let (_, sequence) = run(&engine(1), "quest(budget=96, dense_layers=2)", &ids(3, 300), &ids(4, 1));
    let read: Vec<usize> = (0..LAYERS).map(|layer| if layer < 2 { 301 } else { 64 + 301 % PAGE } * KV_HEADS).collect();
    assert_eq!(sequence.pairs_read().read, read.iter().sum::<usize>());
}

#[test]
fn rows_of_a_chunk_read_what_each_reads_alone() {
    let engine = engine(2);
    let (prompt, rest) = (ids(5, 200), ids(6, 90));
    for method in READING {
        for codec in ["f32", "f16", "int8", "int4"] {
            let text = format!("{} + {codec}", at(method, 100));
            let (alone, _) = run(&engine, &text, &prompt, &rest);
            for size in [7, 90] {
                let mut sequence = engine.sequence(&policy(&text)).unwrap();
                read(&engine, &mut sequence, &prompt, 64);
                let mut found = Vec::new();
                for ids in rest.chunks(size) {
                    let chunk = Chunk { sequence: &mut sequence, ids, prompt_ends: true, wanted: Wanted::All };
                    let logits = engine.forward(&mut [chunk]).unwrap().remove(0);
                    found.extend(logits.rows().map(<[f32]>::to_vec));
                }
                assert!(found == alone[1..], "{text} in chunks of {size}");
            }
        }
    }
}

#[test]
fn threads_and_other_sequences_change_nothing() {
    let texts = [
        ("quest(budget=96, dense_layers=0)", 200),
        ("token_select(budget=40, sinks=2, recent=9)", 150),
        ("long_heads(budget=40, chunk=8)", 170),
        ("hip(budget=40, sinks=2, recent=9, dense_layers=0)", 130),
    ];
    let steps = ids(9, 12);
    let alone: Vec<_> =
        texts.iter().map(|(text, tokens)| run(&engine(1), text, &ids(8, *tokens), &steps).0[1..].to_vec()).collect();
    let engine = engine(2);
    let mut sequences: Vec<Sequence> = texts
        .iter()
        .map(|(text, tokens)| {
            let mut sequence = engine.sequence(&policy(text)).unwrap();
            read(&engine, &mut sequence, &ids(8, *tokens), 64);
            sequence
        })
        .collect();
    for (step, id) in steps.iter().enumerate() {
        let chunk =
            |sequence| Chunk { sequence, ids: std::slice::from_ref(id), prompt_ends: true, wanted: Wanted::Last };
        let mut chunks: Vec<Chunk<'_>> = sequences.iter_mut().map(chunk).collect();
        for (found, alone) in engine.forward(&mut chunks).unwrap().into_iter().zip(&alone) {
            assert!(found.values == alone[step], "step {step}");
        }
    }
}

#[test]
fn every_method_reads_what_every_evictor_keeps_in_every_codec() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 200), ids(2, 40));
    for evictor in EVICTING {
        let kept = with(evictor, "keep=0.8, reindex=false");
        for method in READING {
            for codec in ["f32", "f16", "int8", "int4", "kivi4", "kivi2"] {
                let text = format!("{kept} + {} + {codec}", at(method, 96));
                let (logits, sequence) = run(&engine, &text, &prompt, &steps);
                let (other, _) = run(&engine, &format!("{codec} + {} + {kept}", at(method, 96)), &prompt, &steps);
                assert!(logits == other, "{text}: the order changes the scores");
                assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text}");
                let pairs = sequence.pairs_read();
                assert!(pairs.read < pairs.held, "{text}: {pairs:?}");
            }
            let all = run(&engine, &format!("{kept} + {} + f32", at(method, 1000)), &prompt, &steps).0;
            assert!(all == run(&engine, &format!("{kept} + f32"), &prompt, &steps).0, "{kept} + {method}");
        }
    }
}

#[test]
fn moved_keys_are_bounded_where_they_are() {
    let engine = engine(1);
    let text = "streaming(budget=150, slack=8) + quest(budget=96, dense_layers=0) + f32";
    let (_, sequence) = run(&engine, text, &ids(1, 200), &ids(2, 60));
    for layer in sequence.layers() {
        for (pairs, head) in layer.pairs().iter().zip(layer.statistics()) {
            let mut fresh = headwise_kernels::kv::KeyBounds::new(HEAD_DIM);
            fresh.update(pairs);
            assert_eq!(head.key_bounds.pages(), pairs.len() / PAGE);
            for page in 0..fresh.pages() {
                for channel in 0..HEAD_DIM {
                    assert_eq!(head.key_bounds.extremes(page, channel), fresh.extremes(page, channel));
                }
            }
        }
    }
}

#[test]
fn short_texts_give_numbers() {
    let engine = engine(1);
    for tokens in [1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1, 3 * PAGE, 3 * PAGE + 1] {
        for method in READING {
            let (logits, _) = run(&engine, &at(method, 96), &ids(tokens as u64, tokens), &ids(9, 4));
            assert!(logits.iter().flatten().all(|x| x.is_finite()), "{method} after {tokens} tokens");
        }
    }
}

#[test]
fn layers_with_a_sliding_window_are_left_alone() {
    let engine = Engine::new(decoder([None, Some(16), None]), 1).unwrap();
    let (prompt, steps) = (ids(1, 150), ids(2, 30));
    for method in READING {
        let (logits, sequence) = run(&engine, &at(method, 96), &prompt, &steps);
        assert!(logits.iter().flatten().all(|x| x.is_finite()), "{method}");
        assert_eq!(sequence.layers()[1].statistics()[0].key_bounds.pages(), 0);
    }
}

#[test]
fn a_fork_leaves_its_parent_alone() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 150), ids(2, 30));
    for method in READING {
        let text = at(method, 96);
        let (expected, _) = run(&engine, &text, &prompt, &steps);
        let mut parent = engine.sequence(&policy(&text)).unwrap();
        let mut found = vec![read(&engine, &mut parent, &prompt, prompt.len()).values];
        found.extend(continued(&engine, &mut parent, &steps[..10]));
        let mut fork = parent.clone();
        let apart = continued(&engine, &mut fork, &ids(3, 20));
        found.extend(continued(&engine, &mut parent, &steps[10..]));
        assert!(found == expected, "{text}: the parent changed");
        assert!(apart != expected[11..], "{text}: the fork went its own way");
    }
}

#[test]
fn bounds_cost_a_sixteenth_of_halves() {
    let (_, sequence) = run(&engine(1), "quest", &ids(1, 512), &[]);
    let bytes = sequence.bytes();
    assert_eq!(bytes.pairs, LAYERS * KV_HEADS * 512 * Codec::F16.pair_bytes(HEAD_DIM, HEAD_DIM));
    assert_eq!(bytes.statistics * 16, bytes.pairs);
}

const A: u32 = 251;
const B: u32 = 252;

/// The probability of `B` after `steps`, when a text of `tokens` tokens says `A B` once, at `place`, among fillers that come in
/// runs.
fn recalled(engine: &Engine, text: &str, tokens: usize, place: usize, run: u32, steps: &[u32]) -> f64 {
    let mut ids: Vec<u32> = (0..tokens as u32).map(|i| 1 + i / run * 7 % 241).collect();
    ids[0] = Induction::START;
    (ids[place], ids[place + 1]) = (A, B);
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    engine.prefill(&mut sequence, &ids, |_| {}).unwrap();
    let logits = continued(engine, &mut sequence, steps).pop().unwrap();
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    f64::from(logits[B as usize] - most).exp() / sum
}

#[test]
fn needles_are_found_where_a_stream_of_the_same_size_has_lost_them() {
    let engine = Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 2).unwrap();
    // Codes of tokens are random: extremes say most of the keys of a page where the same ones come again and again. What is
    // recycled is what the first question, a full step, has raised; by the second one, another token follows `A`, too.
    let (once, twice) = (&[A][..], &[A, 250, A][..]);
    for (method, budget, run, steps, least) in [
        ("quest(dense_layers=0)", 128, 4, once, 0.95),
        ("quest(dense_layers=0)", 400, 1, once, 0.95),
        ("token_select(sinks=2, recent=9)", 128, 1, once, 0.95),
        ("recycled(stride=4)", 128, 1, twice, 0.45),
        ("long_heads(chunk=4)", 128, 1, once, 0.95),
    ] {
        for place in [40, 333] {
            let full = recalled(&engine, "full", 1000, place, run, steps);
            assert!(full > least, "p = {full} with the full cache, at {place}");
            let lost = recalled(&engine, &format!("streaming(budget={budget})"), 1000, place, run, steps);
            assert!(lost < 0.01, "p = {lost} with a stream of {budget}, at {place}");
            let text = at(method, budget);
            let found = recalled(&engine, &text, 1000, place, run, steps);
            assert!(found > least, "{text}, at {place}: p = {found}");
        }
    }
}

//! Policies that give the heads of a layer different budgets: what each holds, what it all weighs, and what is found in it.

mod small;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::heads::{Scope, ScopeBound};
use headwise_engine::{Engine, EngineError, Sequence};
use headwise_kernels::kv::Codec;
use headwise_models::decoder::{Decoder, Induction, Weights};
use headwise_nn::mixer::MixerSpec;
use headwise_nn::position::Alibi;
use small::*;

const STORES: usize = LAYERS * KV_HEADS;

/// Reads 150 tokens under `text` and writes on; `check` sees the sequence after the prompt and after every step.
fn follow(text: &str, steps: usize, mut check: impl FnMut(&Sequence)) {
    let engine = engine(1);
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    read(&engine, &mut sequence, &ids(3, 150), 150);
    check(&sequence);
    for id in ids(4, steps) {
        engine.step(&mut sequence, id).unwrap();
        check(&sequence);
    }
}

/// Pairs that the slots for dropped pairs stand for, of every layer and head.
fn dropped(sequence: &Sequence) -> Vec<Vec<usize>> {
    sequence.layers().iter().map(|layer| layer.dropped_counts()).collect()
}

#[test]
fn razor_keeps_retrieval_heads_whole_and_counts_what_others_drop() {
    for text in ["razor(keep=0.4, heads=[[1, 0]])", "razor(keep=0.4, heads=[[1, 0]], when=chunk, slack=0) + int8"] {
        follow(text, 60, |sequence| {
            let (lengths, dropped, tokens) = (lengths(sequence), dropped(sequence), sequence.tokens());
            assert_eq!((lengths[1][0], dropped[1][0]), (tokens, 0), "{text}");
            for (layer, head) in (0..LAYERS).flat_map(|layer| (0..KV_HEADS).map(move |head| (layer, head))) {
                assert_eq!(lengths[layer][head] + dropped[layer][head], tokens, "{text}: layer {layer}, head {head}");
                assert!((layer, head) == (1, 0) || lengths[layer][head] < tokens / 2, "{text}: {lengths:?}");
            }
        });
    }
}

#[test]
fn razor_keeps_the_first_and_the_last_tokens() {
    follow("razor(keep=0.4, heads=[[1, 0]], sinks=3, slack=0)", 5, |sequence| {
        let kept = &positions(sequence)[2][1];
        let recent = sequence.tokens() as i32 - (kept.len() as i32 - 3)..sequence.tokens() as i32;
        assert_eq!(*kept, (0..3).chain(recent).collect::<Vec<_>>());
    });
}

#[test]
fn razor_weighs_what_the_formula_says() {
    // The slot is in single precision: two pairs in half precision.
    for (codec, slot) in [(Codec::F32, 1.0), (Codec::F16, 2.0)] {
        let text = format!("razor(keep=0.6, heads=[[1, 0], [2, 1]], slack=0) + {codec}");
        follow(&text, 40, |sequence| {
            let (tokens, whole, stores) = (sequence.tokens() as f64, 2.0, STORES as f64);
            let budget = (0.6 * tokens + 1e-9).floor();
            let kept = ((stores * budget - whole * tokens) / (stores - whole)).floor() - slot;
            for (layer, head) in [(0, 0), (0, 1), (1, 1), (2, 0)] {
                assert_eq!(lengths(sequence)[layer][head] as f64, kept, "{text}: layer {layer}, head {head}");
            }
            let share = whole / stores + (1.0 - whole / stores) * (kept + slot) / tokens;
            let full = stores * tokens * codec.pair_bytes(HEAD_DIM, HEAD_DIM) as f64;
            assert_eq!(sequence.bytes().coded() as f64, (share * full).round(), "{text}");
            assert_eq!(sequence.bytes().statistics, 4 * size_of::<usize>(), "{text}");
        });
    }
}

#[test]
fn razor_holds_its_budget_at_every_step() {
    for codec in [Codec::F32, Codec::F16, Codec::Int8, Codec::Int4] {
        let pair = codec.pair_bytes(HEAD_DIM, HEAD_DIM);
        for heads in ["", ", heads=[[1, 0]]", ", heads=[]", ", heads=[[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]"]
        {
            for (limit, share) in
                [("budget=40", None), ("budget=100", None), ("keep=0.25", Some(0.25)), ("keep=0.8", Some(0.8))]
            {
                follow(&format!("razor({limit}{heads}) + {codec}"), 40, |sequence| {
                    let pairs = match share {
                        Some(share) => (sequence.tokens() as f64 * share) as usize,
                        None => limit.trim_start_matches("budget=").parse().unwrap(),
                    };
                    let (found, most) = (sequence.bytes().coded(), STORES * pairs * pair);
                    assert!(found <= most, "razor({limit}{heads}) + {codec}: {found} of {most}");
                });
            }
        }
    }
}

#[test]
fn heads_that_are_not_there_are_refused() {
    let refused = |engine: &Engine, text: &str| engine.sequence(&policy(text)).unwrap_err().to_string();
    let small = engine(1);
    let error = refused(&small, "razor(keep=0.5, heads=[[3, 0]])");
    assert!(error.contains("[3, 0]") && error.contains("3 layers"), "{error}");
    let error = refused(&small, "razor(keep=0.5, heads=[[0, 0], [1, 2]])");
    assert!(error.contains("[1, 2]") && error.contains("2 key-value heads"), "{error}");
    let windowed = Engine::new(decoder([None, Some(16), None]), 1).unwrap();
    let error = refused(&windowed, "razor(keep=0.5, heads=[[1, 0]])");
    assert!(error.contains("[1, 0]") && error.contains("sliding window of 16"), "{error}");
    let short = engine(1).with_context(8).sequence(&policy("razor(keep=0.5)"));
    assert!(matches!(short, Err(EngineError::NoRoomForHeads { .. })));

    let error = CachePolicy::parse("razor(keep=0.5, least_weight=0)").unwrap_err().to_string();
    assert!(error.contains("least_weight=0 must be above 0"), "{error}");
}

/// The model of these tests with ALiBi in the layers `layers`, its weights small, as those of a model that has begun to learn.
fn with_alibi(layers: &[usize]) -> Engine {
    let mut spec = decoder([None; LAYERS]).spec().clone();
    for &layer in layers {
        let mixer = spec.layers[layer].mixer.softmax().unwrap().clone();
        spec.layers[layer].mixer =
            MixerSpec::from(headwise_nn::mixer::SoftmaxSpec { position: Alibi {}.into(), ..mixer });
    }
    Engine::new(Decoder::random(spec, &Device::flex()).unwrap(), 1).unwrap()
}

#[test]
fn razor_keeps_what_heads_with_alibi_see() {
    let engine = with_alibi(&[0, 1, 2]);
    let scope = Scope { bound: ScopeBound::Safe, least_weight: 1e-3 };
    let scopes = engine.scopes(scope);
    let (near, far) = (scopes[0][0], scopes[0][1]);
    assert!(near < 400 && near < far, "the first heads have the steepest slopes: {scopes:?}");
    let (tokens, steps) = (600, 20);
    let run = |text: &str| {
        let mut sequence = engine.sequence(&policy(text)).unwrap();
        read(&engine, &mut sequence, &ids(3, tokens), tokens);
        let logits: Vec<f32> = continued(&engine, &mut sequence, &ids(4, steps)).concat();
        (logits, sequence)
    };
    let most = |logits: &[f32]| logits.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let (full, _) = run("f32");
    // A budget that is enough for all: heads keep what they see and no more, and nothing changes but by what is out of sight.
    let (kept, sequence) = run("razor(keep=0.99, least_weight=0.001, slack=0, sinks=0) + f32");
    for (layer, lengths) in lengths(&sequence).iter().enumerate() {
        let expected: Vec<usize> = scopes[layer].iter().map(|&scope| scope.min(tokens + steps)).collect();
        assert_eq!(*lengths, expected, "layer {layer}");
    }
    assert_eq!(dropped(&sequence), vec![vec![0; KV_HEADS]; LAYERS], "no slot stands for what is out of sight");
    let difference = |a: &[f32]| a.iter().zip(&full).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(difference(&kept) < 0.02 * most(&full), "{} of {}", difference(&kept), most(&full));
    // One that is not: the near-sighted heads keep what they see, the others share the rest.
    let (_, sequence) = run("razor(budget=400, least_weight=0.001, slack=0, sinks=0)");
    for (lengths, scopes) in lengths(&sequence).iter().zip(&scopes) {
        let near = scopes[0].min(400);
        assert_eq!(*lengths, [near, 800 - near]);
    }
}

#[test]
fn razor_finds_heads_where_there_is_no_alibi_only() {
    let engine = with_alibi(&[1]);
    let mut sequence = engine.sequence(&policy("razor(keep=0.4, slack=0)")).unwrap();
    read(&engine, &mut sequence, &ids(3, 300), 300);
    let kept = lengths(&sequence);
    assert!(kept[0].iter().chain(&kept[2]).any(|&length| length == 300), "one is a retrieval head: {kept:?}");
    let dropped = dropped(&sequence);
    assert_eq!(dropped[1], [0; KV_HEADS]);
    assert!(dropped[0].iter().chain(&dropped[2]).any(|&count| count > 0), "{dropped:?}");
    // Without a run there is nothing that a short context could forbid.
    assert!(with_alibi(&[0, 1, 2]).with_context(8).sequence(&policy("razor(keep=0.5)")).is_ok());
}

/// Of texts `… A B …`, compressed before they end in `A`, the share that the induction model answers with `B`, and the bytes of
/// its cache.
fn recall(text: &str) -> (f64, usize) {
    let engine = Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 1).unwrap();
    let mut bytes = 0;
    let answers = (0..20).map(|prompt: u32| {
        let (a, b) = (250 - prompt, 230 - prompt);
        let mut ids: Vec<u32> = (0..300).map(|i| 1 + (i * 7 + prompt) % 200).collect();
        ids[0] = Induction::START;
        let at = 5 + prompt as usize * 12;
        (ids[at], ids[at + 1]) = (a, b);
        let mut sequence = engine.sequence(&policy(text)).unwrap();
        engine.prefill(&mut sequence, &ids, |_| {}).unwrap();
        bytes = sequence.bytes().coded();
        let logits = engine.step(&mut sequence, a).unwrap();
        let answer = (0..logits.vocabulary).max_by(|&x, &y| logits.last()[x].total_cmp(&logits.last()[y]));
        f64::from(answer == Some(b as usize))
    });
    (answers.sum::<f64>() / 20.0, bytes)
}

#[test]
fn the_answer_stays_only_where_the_retrieval_head_is_whole() {
    let (full, all) = recall("full");
    assert_eq!(full, 1.0);
    let (found, bytes) = recall("razor(keep=0.35)");
    assert!(found >= 0.95 && bytes as f64 <= 0.35 * all as f64, "{found} with {bytes} of {all} bytes");
    for swapped in ["[[0, 0]]", "[[0, 1]]", "[[1, 1]]"] {
        let (found, _) = recall(&format!("razor(keep=0.35, heads={swapped})"));
        assert!(found <= 0.3, "{found} with {swapped} whole");
    }
    let (found, _) = recall("streaming(keep=0.35, reindex=false)");
    assert!(found <= 0.5, "{found} in a stream");
}

/// Evicting policies whose budgets scores can divide.
fn divided() -> impl Iterator<Item = &'static str> {
    let not = ["streaming", "tova", "razor"];
    EVICTING.into_iter().filter(move |name| not.iter().all(|other| !name.starts_with(other)))
}

#[test]
fn a_divided_budget_is_held_by_the_layer_at_every_step() {
    for name in divided().filter(|name| !name.starts_with("pyramidkv")) {
        let mut ragged = false;
        for (limit, share) in [("budget=40", None), ("budget=40, slack=0, when=chunk", None), ("keep=0.3", Some(0.3))] {
            let text = format!("adakv + {}", with(name, limit));
            let mut steps = 0;
            follow(&text, 50, |sequence| {
                let budget = share.map_or(40, |share| (sequence.tokens() as f64 * share) as usize);
                for heads in lengths(sequence) {
                    let sum: usize = heads.iter().sum();
                    assert!(sum <= KV_HEADS * budget, "{text} after {steps} steps: {heads:?}");
                    assert!(steps > 0 || sum == KV_HEADS * budget, "{text}: nothing is given away: {heads:?}");
                    let floor = (0.2 * (budget - budget / 8) as f64) as usize;
                    assert!(heads.iter().all(|&pairs| pairs >= floor), "{text} after {steps} steps: {heads:?}");
                    ragged |= heads[0] != heads[1];
                }
                let pair = Codec::F16.pair_bytes(HEAD_DIM, HEAD_DIM);
                assert!(sequence.bytes().coded() <= STORES * budget * pair, "{text}");
                steps += 1;
            });
        }
        assert!(ragged, "{name}: heads differ");
    }
}

#[test]
fn a_pyramid_of_layers_is_divided_too() {
    let even = with("pyramidkv(window=8, beta=3)", "budget=40");
    let sums = |text: &str| {
        let mut sums = Vec::new();
        follow(text, 0, |sequence| sums = lengths(sequence).iter().map(|heads| heads.iter().sum::<usize>()).collect());
        sums
    };
    let expected = sums(&even);
    assert!(expected[0] > expected[LAYERS - 1]);
    assert_eq!(sums(&format!("adakv + {even}")), expected);
}

#[test]
fn a_floor_of_one_divides_evenly() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 120), ids(2, 40));
    for name in divided() {
        let even = with(name, "budget=40");
        let (expected, _) = run(&engine, &even, &prompt, &steps);
        let (found, _) = run(&engine, &format!("adakv(floor=1) + {even}"), &prompt, &steps);
        assert!(found == expected, "{even}");
        let (other, _) = run(&engine, &format!("adakv(floor=0) + {even}"), &prompt, &steps);
        assert!(other != expected, "{even}: a floor of 0 makes a difference");
    }
}

#[test]
fn a_divided_budget_that_everything_fits_changes_nothing() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 70), ids(2, 20));
    let (full, _) = run(&engine, "f32", &prompt, &steps);
    for name in divided() {
        for limit in ["keep=1", "budget=90", "budget=1000"] {
            let text = format!("adakv + {} + f32", with(name, limit));
            let (logits, sequence) = run(&engine, &text, &prompt, &steps);
            assert!(lengths(&sequence).iter().flatten().all(|&pairs| pairs == 90), "{text}");
            assert!(logits == full, "{text} changes the scores");
        }
    }
}

#[test]
fn divided_budgets_stand_with_every_codec_and_after_each_other() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 150), ids(2, 30));
    for codec in ["f32", "int8", "int4", "kivi2"] {
        for first in divided() {
            let text =
                format!("{} + adakv(floor=0.1) + snapkv(window=4, budget=30) + {codec}", with(first, "budget=50"));
            let (logits, sequence) = run(&engine, &text, &prompt, &steps);
            assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text}");
            let sums = lengths(&sequence).into_iter().map(|heads| heads.iter().sum::<usize>());
            assert!(sums.clone().all(|sum| sum <= KV_HEADS * 30), "{text}: {:?}", sums.collect::<Vec<_>>());
        }
    }
}

#[test]
fn small_divided_budgets_give_numbers() {
    let engine = engine(1);
    for tokens in [1, 2, 8, 33] {
        for name in divided() {
            for budget in [1, 2, 9] {
                let text = format!("adakv + {}", with(name, &format!("budget={budget}")));
                let (logits, sequence) = run(&engine, &text, &ids(tokens as u64, tokens), &ids(9, 4));
                assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text} after {tokens} tokens");
                assert!(lengths(&sequence).iter().all(|heads| heads.iter().sum::<usize>() > 0), "{text}");
            }
        }
    }
}

#[test]
fn the_text_names_the_division() {
    assert_eq!(CachePolicy::parse("adakv + snapkv(keep=0.25)").unwrap().to_string(), "adakv + snapkv(keep=0.25)");
    assert_eq!(policy("snapkv(keep=0.25) + adakv(floor=0.2)").to_string(), "snapkv(keep=0.25) + adakv");
}

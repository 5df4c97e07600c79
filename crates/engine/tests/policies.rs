//! Every policy by itself: it is read, refused, kept within its budget, and equals the full cache when nothing leaves.

mod small;

use burn::tensor::Device;
use headwise_engine::Engine;
use headwise_engine::cache::{CacheMethod, CachePolicy, pyramidkv};
use headwise_kernels::kv::{Codec, PAGE};
use headwise_spec::Family;
use small::*;

const CODECS: [&str; 7] = ["f32", "f16", "bf16", "int8", "int4", "kivi4", "kivi2"];

#[test]
fn the_family_keeps_its_promises() {
    headwise_spec::check_family::<CacheMethod>();
    let methods = EVICTING.iter().chain(&READING).map(|policy| policy.split('(').next().unwrap());
    let known = methods.chain(CODECS).chain(["full", "adakv", "uncomp_groups", "uncomp_stages", "act", "gemfilter"]);
    let (mut known, mut names): (Vec<&str>, Vec<&str>) = (known.collect(), CacheMethod::names());
    known.sort_unstable();
    names.sort_unstable();
    assert_eq!(known, names, "the tests run over every method");
}

#[test]
fn canonical_text_reads_back() {
    let more = ["full", "f32", "snapkv(keep=0.25) + int8", "streaming(sinks=2, budget=64) + h2o(budget=32) + kivi2"];
    let all = EVICTING.iter().map(|policy| with(policy, "bytes=\"2MiB\", when=chunk, reindex=true, slack=3"));
    for text in all.chain(more.map(String::from)) {
        let canonical = policy(&text).to_string();
        assert_eq!(policy(&canonical).to_string(), canonical, "{text}");
    }
    assert_eq!(policy("snapkv( budget = 64 ,window=64)+f32").to_string(), "snapkv(budget=64) + f32");
}

#[test]
fn misuse_is_refused_and_named() {
    let refused = [
        ("snapvk(keep=0.5)", "snapkv"),
        ("snapkv(keeps=0.5)", "budget"),
        ("snapkv(ratio=0.5)", "ratio"),
        ("snapkv(keep=0.5, window=0)", "window=0"),
        ("snapkv(keep=0.5, kernel=4)", "odd"),
        ("snapkv(keep=0.5, kernel=0)", "odd"),
        ("pyramidkv(keep=0.5, window=0)", "`pyramidkv`: window=0"),
        ("pyramidkv(keep=0.5, kernel=2)", "`pyramidkv`: kernel=2"),
        ("pyramidkv(keep=0.5, beta=0)", "beta=0"),
        ("expected_attention(keep=0.5, future=0)", "future=0"),
        ("snapkv(keep=0.5, when=later)", "end"),
        ("razor(keep=0.5, heads=[1])", "heads"),
        ("razor(keep=0.5, heads=[[0, 1]]) + razor(keep=0.5)", "different heads"),
        ("adakv(floor=1.5) + snapkv(keep=0.5)", "floor=1.5"),
        ("adakv(floor=-0.1) + snapkv(keep=0.5)", "floor=-0.1"),
        ("adakv + uncomp_groups + snapkv(keep=0.5)", "`adakv` and `uncomp_groups`"),
        ("adakv", "adakv + snapkv(keep=0.25)"),
        ("adakv + full", "adakv + snapkv(keep=0.25)"),
        ("adakv + int8", "adakv + snapkv(keep=0.25)"),
        ("adakv + streaming(keep=0.5)", "same tokens in every head"),
        ("tova(keep=0.5) + adakv", "same tokens in every head"),
        ("adakv + razor(keep=0.5)", "over the heads itself"),
        ("uncomp_groups", "uncomp_groups + snapkv(keep=0.25)"),
        ("uncomp_groups(groups=1) + snapkv(keep=0.5)", "groups=1"),
        ("uncomp_groups(ratio=0.5) + snapkv(keep=0.5)", "ratio=0.5"),
        ("uncomp_stages(keep=0)", "keep=0"),
        ("uncomp_stages(fall=-1)", "fall=-1"),
        ("uncomp_stages(window=0)", "window=0"),
        ("uncomp_stages + uncomp_stages", "twice"),
        ("uncomp_stages + act", "leaves rows out"),
        ("act(beta=1.5)", "beta=1.5"),
        ("act(alpha=0.5)", "alpha=0.5"),
        ("act(rows=0)", "rows=0"),
        ("act + act(beta=0.5)", "twice"),
        ("act + quest(budget=128)", "beside `quest(budget=128)`"),
        ("streaming(keep=0.5) + act", "counts positions anew"),
        ("int8 + f32", "`int8` and `f32`"),
        ("kivi2 + kivi4", "takes one"),
        ("full + snapkv(keep=0.5)", "keeps every pair"),
        ("tova(keep=0.5) + full", "keeps every pair"),
    ];
    for (text, says) in refused {
        let error = CachePolicy::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "`{text}`: {error}");
    }
    for name in EVICTING.map(|policy| policy.split('(').next().unwrap()) {
        for (parameters, says) in [
            ("", "exactly one of"),
            ("budget=0", "at least 1"),
            ("budget=4, keep=0.5", "exactly one of"),
            ("keep=0", "above 0"),
            ("keep=1.5", "at most 1"),
            ("bytes=\"many\"", "32MiB"),
        ] {
            let error = CachePolicy::parse(&format!("{name}({parameters})")).expect_err(name).to_string();
            assert!(error.contains(says) && error.contains(name), "`{name}({parameters})`: {error}");
        }
    }
}

#[test]
fn a_budget_above_the_context_is_refused() {
    let error = engine(1).sequence(&policy("h2o(budget=1025)")).unwrap_err().to_string();
    assert!(error.contains("1025") && error.contains("1024"), "{error}");
    assert!(engine(1).sequence(&policy("h2o(budget=1024)")).is_ok());
}

#[test]
fn nothing_leaves_means_nothing_changes() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 70), ids(2, 20));
    let (full, _) = run(&engine, "f32", &prompt, &steps);
    for name in EVICTING {
        for limit in ["keep=1", "budget=90", "budget=1000", "bytes=\"1GiB\"", "keep=1, when=chunk"] {
            let text = with(name, limit) + " + f32";
            let (logits, sequence) = run(&engine, &text, &prompt, &steps);
            assert!(lengths(&sequence).iter().flatten().all(|&pairs| pairs == 90), "{text}");
            assert!(logits == full, "{text} changes the scores");
        }
    }
}

#[test]
fn the_cache_changes_nothing() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 70), ids(2, 20));
    let text = [&prompt[..], &steps].concat();
    let expected = engine.model().forward(&text, &Device::flex()).into_data().try_into_vec::<f32>().unwrap();
    let expected: Vec<&[f32]> = expected.chunks_exact(VOCABULARY).skip(prompt.len() - 1).collect();
    let (found, _) = run(&engine, "f32", &prompt, &steps);
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_near(found, expected, 1e-4, &format!("step {step}"));
    }
}

#[test]
fn layers_with_a_sliding_window_are_left_alone() {
    let engine = Engine::new(decoder([None, Some(16), None]), 1).unwrap();
    let (prompt, steps) = (ids(1, 120), ids(2, 50));
    let text = [&prompt[..], &steps].concat();
    let expected = engine.model().forward(&text, &Device::flex()).into_data().try_into_vec::<f32>().unwrap();
    let expected: Vec<&[f32]> = expected.chunks_exact(VOCABULARY).skip(prompt.len() - 1).collect();
    let (found, _) = run(&engine, "f32", &prompt, &steps);
    found.iter().zip(expected).for_each(|(found, expected)| assert_near(found, expected, 1e-4, "f32"));
    for name in EVICTING {
        let (logits, sequence) = run(&engine, &with(name, "budget=40"), &prompt, &steps);
        assert!(logits.iter().flatten().all(|x| x.is_finite()), "{name}");
        let lengths = lengths(&sequence);
        assert!(lengths.iter().flatten().all(|&pairs| pairs > 0), "{name}: {lengths:?}");
        assert!(lengths[1].iter().all(|&pairs| pairs <= 16 + PAGE), "{name}: {lengths:?}");
        let evicting: usize = [0, 2].iter().flat_map(|&layer| &lengths[layer]).sum();
        assert!(evicting <= 2 * KV_HEADS * 40, "{name}: {evicting} pairs in two layers");
    }
}

/// Runs `text` and returns the most pairs that any head of each layer held after the prompt and after every step.
fn most_pairs(text: &str, prompt: usize, steps: usize) -> Vec<usize> {
    let engine = engine(1);
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    read(&engine, &mut sequence, &ids(3, prompt), prompt);
    let mut most = vec![0; LAYERS];
    for id in ids(4, steps + 1) {
        for (most, heads) in most.iter_mut().zip(lengths(&sequence)) {
            *most = heads.into_iter().fold(*most, usize::max);
        }
        engine.step(&mut sequence, id).unwrap();
    }
    most
}

#[test]
fn the_budget_holds_at_every_step() {
    // `pyramidkv` gives layers different budgets, `razor` heads.
    let even = |name: &&str| !name.starts_with("pyramidkv") && !name.starts_with("razor");
    for name in EVICTING.into_iter().filter(even) {
        for (limit, budget) in [("budget=40", 40), ("budget=40, slack=0", 40), ("budget=40, when=chunk", 40)] {
            let text = with(name, limit);
            assert_eq!(most_pairs(&text, 100, 30), [budget; LAYERS], "{text}");
        }
        // 24 KiB over 3 layers of 2 heads, 64 bytes a pair in f16.
        assert_eq!(most_pairs(&with(name, "bytes=\"24KiB\""), 100, 10), [64; LAYERS], "{name}");
        let grown = most_pairs(&with(name, "keep=0.25"), 100, 40);
        assert!(grown.iter().all(|&pairs| pairs <= 35), "{name}: {grown:?}");
    }
}

#[test]
fn pyramid_budgets_hold_and_have_the_mean_asked_for() {
    let expected: Vec<usize> =
        (0..LAYERS).map(|layer| pyramidkv::layer_budget(60.0, 200, layer, LAYERS, 8, 3)).collect();
    assert_eq!(expected.iter().sum::<usize>(), 60 * LAYERS);
    assert!(expected[0] > expected[LAYERS - 1]);
    assert_eq!(most_pairs("pyramidkv(window=8, beta=3, budget=60)", 200, 60), expected);
    assert_eq!(most_pairs("pyramidkv(window=8, beta=3, keep=0.3)", 200, 0), expected);
    // The share grows with the text, the pyramid keeps its slope.
    let grown = most_pairs("pyramidkv(window=8, beta=3, keep=0.3, slack=0)", 200, 40);
    assert_eq!(grown, expected.iter().map(|budget| budget + 12).collect::<Vec<_>>());
}

#[test]
fn reading_in_chunks_never_holds_more_than_the_budget_and_a_chunk() {
    let engine = engine(1);
    let prompt = ids(3, 300);
    let pages = |pairs: usize| pairs.div_ceil(PAGE) * PAGE;
    for (when, most) in [("chunk", 40 + 32), ("end", 300)] {
        let mut sequence = engine.sequence(&policy(&format!("random(budget=40, when={when}) + f32"))).unwrap();
        read(&engine, &mut sequence, &prompt, 32);
        let stores = LAYERS * KV_HEADS;
        let bytes = stores * (pages(most) * Codec::F32.pair_bytes(HEAD_DIM, HEAD_DIM) + most * size_of::<i32>());
        assert!(sequence.peak_bytes() <= bytes, "{when}: {} of {bytes}", sequence.peak_bytes());
        assert!(lengths(&sequence).iter().flatten().all(|&pairs| pairs == 40));
    }
}

#[test]
fn short_texts_and_small_budgets_give_numbers() {
    let engine = engine(1);
    for tokens in [1, 2, 8, 9, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1, 3 * PAGE] {
        for name in EVICTING {
            for budget in [1, 8, 9] {
                let text = with(name, &format!("budget={budget}"));
                let (logits, sequence) = run(&engine, &text, &ids(tokens as u64, tokens), &ids(9, 4));
                assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text} after {tokens} tokens");
                assert!(lengths(&sequence).iter().flatten().all(|pairs| (1..=tokens + 4).contains(pairs)), "{text}");
            }
        }
    }
}

#[test]
fn bytes_are_what_the_formats_cost() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 150), ids(2, 7));
    let stores = LAYERS * KV_HEADS;
    let heads = LAYERS * HEADS;
    for codec in [Codec::F32, Codec::F16, Codec::Bf16, Codec::Int8, Codec::Int4] {
        for name in ["random", "h2o", "knorm", "tova", "snapkv(window=8)"] {
            let text = with(name, "budget=50, slack=4") + " + " + codec.name();
            let (_, sequence) = run(&engine, &text, &prompt, &steps);
            let slots: usize = lengths(&sequence).iter().flatten().sum();
            let statistics = match name {
                "knorm" => slots * 4,
                // The row written since the last eviction waits: its queries and their log-sum-exp.
                "h2o" => (slots - stores) * 4 + heads * (HEAD_DIM + 1) * 4,
                "tova" => heads * HEAD_DIM * 4,
                "snapkv(window=8)" => 8 * heads * HEAD_DIM * 4,
                _ => 0,
            };
            let bytes = sequence.bytes();
            assert!((46 * stores..=50 * stores).contains(&slots), "{text}: {slots}");
            assert_eq!(bytes.coded(), slots * codec.pair_bytes(HEAD_DIM, HEAD_DIM), "{text}");
            assert_eq!(bytes.positions, slots * 4, "{text}");
            assert_eq!(bytes.statistics, statistics, "{text}");
            let empty = stores * 2 * PAGE - slots;
            assert_eq!(bytes.waste, empty * codec.pair_bytes(HEAD_DIM, HEAD_DIM), "{text}");
        }
    }
}

#[test]
fn query_moments_cost_a_triangle_per_head() {
    let (_, sequence) = run(&engine(1), "expected_attention(budget=50)", &ids(1, 150), &[]);
    let per_head = 4 * (2 * HEAD_DIM + HEAD_DIM * (HEAD_DIM + 1) / 2);
    assert_eq!(sequence.bytes().statistics, LAYERS * HEADS * per_head);
}

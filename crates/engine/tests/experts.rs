//! Experts that stay in their file: the same bits under every policy and capacity, within the memory they are given.

use std::path::Path;
use std::time::Duration;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::experts::ExpertPolicy;
use headwise_engine::{Chunk, Engine, Generation, Logits, Sampler, Sequence, TextModel, Wanted, Writing, generate_all};
use headwise_models::decoder::{Decoder, Precision, Weights};
use tempfile::TempDir;

const SPEC: &str = r#"
    vocabulary = 40
    dim = 16
    context = 128
    epsilon = 1e-5
    [[layers]]
    mixer = "softmax(heads=2)"
    channel = "moe(experts=6, active=2, hidden=12)"
    [[layers]]
    mixer = "softmax(heads=2)"
    channel = "gated(hidden=20)"
    [[layers]]
    mixer = "softmax(heads=2)"
    channel = "moe(experts=5, active=3, hidden=20)"
    [[layers]]
    mixer = "softmax(heads=2)"
    channel = "moe(experts=6, active=1, hidden=12)"
"#;

/// All of its experts.
const EXPERTS: u64 = 6 + 5 + 6;

/// Every policy; the shares hold one expert of the largest layer and not two, two or three, and all.
const POLICIES: [&str; 9] = [
    "on_demand",
    "lru(capacity=0.1)",
    "lru(capacity=0.25)",
    "next_gate(capacity=0.1)",
    "next_gate(capacity=0.25)",
    "expertflow(capacity=0.1)",
    "expertflow(capacity=0.25)",
    "expertflow(capacity=0.25, schedule=false)",
    "expertflow(capacity=1)",
];

fn written() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    Decoder::random(toml::from_str(SPEC).unwrap(), &device).unwrap().export(folder.path(), Precision::F32).unwrap();
    folder
}

fn whole(folder: &Path) -> Engine {
    Engine::new(Decoder::open(folder, Weights::Stored, &Device::flex()).unwrap(), 2).unwrap()
}

fn policy(text: &str) -> ExpertPolicy {
    headwise_spec::from_text(text).unwrap()
}

fn offloaded(folder: &Path, text: &str) -> Engine {
    let engine = Engine::open_with_experts(folder, Weights::Stored, 2, &policy(text), Duration::ZERO).unwrap();
    engine.learn_routes(&ids(9, 300)).unwrap();
    engine
}

fn ids(seed: u64, count: u64) -> Vec<u32> {
    (0..count).map(|index| ((index * 7 + seed * 13 + index * index * 5 % 11) % 40) as u32).collect()
}

fn sequence(engine: &Engine) -> Sequence {
    engine.sequence(&CachePolicy::full()).unwrap()
}

/// The scores of a prompt, and of tokens after it.
fn scores(engine: &Engine) -> Vec<Vec<f32>> {
    let mut text = sequence(engine);
    let mut all = vec![engine.prefill(&mut text, &ids(1, 30), |_| {}).unwrap().values];
    all.extend(ids(2, 12).into_iter().map(|id| engine.step(&mut text, id).unwrap().values));
    all
}

#[test]
fn outputs_are_those_of_the_whole_model_bit_for_bit() {
    let folder = written();
    let expected = scores(&whole(folder.path()));
    for text in POLICIES {
        let engine = offloaded(folder.path(), text);
        assert!(scores(&engine) == expected, "{text}");
        let found = engine.experts().unwrap().statistics();
        assert!(found.peak_bytes <= found.capacity_bytes && found.peak_bytes > 0, "{text}: {found:?}");
        assert!(engine.experts().unwrap().resident_bytes() <= found.capacity_bytes, "{text}");
        assert!(found.hits().needed > 0 && found.layers.len() == 3, "{text}");
        if text == "on_demand" {
            assert_eq!((found.hits().hits, found.loads_ahead), (0, 0));
        } else {
            let share = policy(text).capacity().unwrap();
            assert!(found.capacity_bytes as f64 <= share * found.total_bytes as f64 * 1.001, "{text}");
        }
    }
}

#[test]
fn what_is_held_is_found_again() {
    let folder = written();
    for text in ["lru(capacity=1)", "next_gate(capacity=1)", "expertflow(capacity=1)"] {
        let engine = offloaded(folder.path(), text);
        let round = || {
            scores(&engine);
            engine.experts().unwrap().statistics()
        };
        let (mut first, mut second) = (round(), round());
        // What is wanted ahead may be overtaken by the layer that it is for, and come in a later round; each expert comes once.
        for _ in 0..EXPERTS {
            if second.loads() > first.loads() {
                (first, second) = (second, round());
            }
        }
        assert!(second.loads() <= EXPERTS, "{text}: {second:?}");
        assert_eq!(second.loads(), first.loads(), "{text}: everything fits, so nothing is loaded twice");
        assert_eq!(second.evictions, 0, "{text}");
    }
}

/// Chunks of `texts`, the next token of each.
fn chunks<'a>(texts: &'a mut [Sequence], next: &'a [u32]) -> Vec<Chunk<'a>> {
    let chunk = |(sequence, ids)| Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last };
    texts.iter_mut().zip(next.chunks(1)).map(chunk).collect()
}

#[test]
fn no_grouping_of_texts_changes_a_bit() {
    let folder = written();
    let run = |engine: &Engine, step: &dyn Fn(&Engine, &mut [Chunk<'_>]) -> Vec<Logits>| {
        let mut texts: Vec<Sequence> = (0..7).map(|_| sequence(engine)).collect();
        for (index, text) in texts.iter_mut().enumerate() {
            engine.prefill(text, &ids(index as u64, 9), |_| {}).unwrap();
        }
        (0..4).map(|round| step(engine, &mut chunks(&mut texts, &ids(round, 7)))).collect::<Vec<_>>()
    };
    let expected = run(&whole(folder.path()), &|engine, chunks| engine.forward(chunks).unwrap());
    let engine = offloaded(folder.path(), "expertflow(capacity=0.25)");
    assert!(run(&engine, &|engine, chunks| engine.forward_in_two(chunks).unwrap()) == expected);
    for groups in [vec![vec![6, 0, 3], vec![1, 5], vec![2, 4]], vec![vec![], vec![0, 1, 2, 3, 4, 5, 6]]] {
        let found = run(&engine, &|engine, chunks| engine.forward_in_groups(chunks, &groups).unwrap());
        assert!(found == expected, "{groups:?}");
    }
    let lru = offloaded(folder.path(), "lru");
    assert!(run(&lru, &|engine, chunks| engine.forward_in_two(chunks).unwrap()) == expected);
}

#[test]
fn texts_that_are_written_together_keep_their_own_draws() {
    let folder = written();
    let write = |engine: &Engine| -> Vec<Vec<u32>> {
        let text =
            |index: u64| Writing::new(sequence(engine), ids(index, 8), Sampler::new(1.0, 0, 1.0, 3).number(index));
        let mut texts: Vec<Writing> = (0..5).map(text).collect();
        generate_all(engine, &mut texts, &Generation { tokens: 10, stop: Vec::new() }, |_| {}).unwrap();
        texts.iter().map(|text| text.written().to_vec()).collect()
    };
    let expected = write(&whole(folder.path()));
    for text in ["on_demand", "next_gate", "expertflow"] {
        assert_eq!(write(&offloaded(folder.path(), text)), expected, "{text}");
    }
}

#[test]
fn texts_on_several_threads_share_the_slots() {
    let folder = written();
    let expected = scores(&whole(folder.path()));
    for text in ["on_demand", "lru(capacity=0.1)", "expertflow(capacity=0.1)"] {
        let engine = offloaded(folder.path(), text);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| scores(&engine))).collect();
            threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() == expected, "{text}"));
        });
        let found = engine.experts().unwrap().statistics();
        assert!(found.peak_bytes <= found.capacity_bytes, "{text}");
    }
}

#[test]
fn slow_loads_change_the_time_and_nothing_else() {
    let folder = written();
    let expected = scores(&whole(folder.path()));
    let delay = Duration::from_millis(1);
    let slow = Engine::open_with_experts(folder.path(), Weights::Stored, 2, &policy("next_gate"), delay).unwrap();
    assert!(scores(&slow) == expected);
    assert!(slow.experts().unwrap().statistics().loads() > 0);
}

#[test]
fn what_was_recorded_is_what_routers_chose() {
    let folder = written();
    let engine = offloaded(folder.path(), "lru(capacity=0.1)");
    let offload = engine.experts().unwrap();
    offload.record();
    let mut text = sequence(&engine);
    engine.prefill(&mut text, &ids(1, 30), |_| {}).unwrap();
    engine.step(&mut text, 7).unwrap();
    let samples = offload.recorded();
    assert_eq!(samples.len(), 31);
    assert_eq!(samples[30].recent.ids().last(), Some(&7));
    assert_eq!(samples[30].recent.ids()[6], ids(1, 30)[29], "what was read before is remembered over forwards");
    for sample in &samples {
        assert_eq!([0, 1, 2].map(|layer| sample.path.of_layer(layer).len()), [2, 3, 1]);
    }
    assert!(offload.recorded().is_empty());
}

#[test]
fn what_cannot_be_is_named() {
    let folder = written();
    let error = |folder: &Path, text: &str| {
        Engine::open_with_experts(folder, Weights::Stored, 1, &policy(text), Duration::ZERO).unwrap_err().to_string()
    };
    assert!(error(folder.path(), "lru(capacity=2)").contains("capacity=2 must be"));
    assert!(error(folder.path(), "expertflow(cut=0)").contains("cut=0"));
    let least = error(folder.path(), "lru(capacity=0.01)");
    assert!(least.contains("give at least 0.0"), "{least}");
    let share = least.rsplit(' ').next().unwrap();
    Engine::open_with_experts(
        folder.path(),
        Weights::Stored,
        1,
        &policy(&format!("lru(capacity={share})")),
        Duration::ZERO,
    )
    .expect("the share that the error names");

    let description = folder.path().join("headwise.toml");
    let text = std::fs::read_to_string(&description).unwrap();
    assert!(error(&folder.path().join("model.safetensors"), "lru").contains("has no experts"));
    std::fs::write(&description, text.replace("active = 3", "active = 9")).unwrap();
    assert!(error(folder.path(), "lru").contains("active is 9"));
    std::fs::write(&description, &text).unwrap();
    let weights = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(error(folder.path(), "lru").contains("model.safetensors"));

    let dense = tempfile::tempdir().unwrap();
    let spec = "vocabulary = 9\ndim = 8\ncontext = 8\nepsilon = 1e-5\n[[layers]]\nmixer = \"softmax(heads=2)\"\n\
                channel = \"gated(hidden=8)\"";
    let model = Decoder::random(toml::from_str(spec).unwrap(), &Device::flex()).unwrap();
    model.export(dense.path(), Precision::F32).unwrap();
    assert!(error(dense.path(), "lru").contains("leave it out"));

    let shared = tempfile::tempdir().unwrap();
    let layer = "[[layers]]\nmixer = \"softmax(heads=2)\"\nchannel = \"moe(experts=2, active=1, hidden=8)\"\n";
    let spec = format!("vocabulary = 9\ndim = 8\ncontext = 8\nepsilon = 1e-5\nshared_by = 2\n{layer}{layer}");
    let model = Decoder::random(toml::from_str(&spec).unwrap(), &Device::flex()).unwrap();
    model.export(shared.path(), Precision::F32).unwrap();
    assert!(error(shared.path(), "lru").contains("shared_by = 2"));
    // A tokenizer is missing, which is said before anything is learnt.
    let opened =
        TextModel::open_with_experts(written().path(), Weights::Stored, 1, &policy("lru"), Duration::ZERO, "a lesson");
    assert!(opened.err().unwrap().to_string().contains("tokenizer.json"));
}

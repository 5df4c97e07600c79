//! Segments whose order does not matter, against the definition, and what may not be done with them.

mod pine_definition;
mod small;

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::pine::{Ordinary, Pine, SegmentPositions, SegmentedText, SegmentsError};
use headwise_engine::{Chunk, Engine, EngineError, Generation, Sampler, Sequence, Session, Wanted, generate};
use headwise_models::decoder::{Decoder, DecoderSpec};
use headwise_nn::mixer::MixerSpec;
use headwise_nn::position::{Alibi, InputPositionSpec, Nope, PositionSpec, SinusoidalSpec};
use pine_definition::Definition;
use small::*;

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A text with a set of segments of these lengths.
fn text(prefix: usize, lengths: &[usize], suffix: usize) -> SegmentedText {
    let segments = lengths.iter().enumerate().map(|(index, &length)| ids(50 + index as u64, length)).collect();
    SegmentedText { prefix: ids(40, prefix), segments, suffix: ids(41, suffix) }
}

fn in_order(text: &SegmentedText, order: [usize; 3]) -> SegmentedText {
    SegmentedText { segments: order.map(|segment| text.segments[segment].clone()).to_vec(), ..text.clone() }
}

/// The scores after `text` and after each of `steps`.
fn read(
    engine: &Engine,
    cache: &str,
    positions: &SegmentPositions,
    text: &SegmentedText,
    steps: &[u32],
) -> Vec<Vec<f32>> {
    let mut sequence = engine.sequence(&policy(cache)).unwrap();
    let ids = positions.begin(engine, &mut sequence, text).unwrap();
    let mut scores = vec![engine.prefill(&mut sequence, &ids, |_| {}).unwrap().values];
    scores.extend(continued(engine, &mut sequence, steps));
    scores
}

fn pine() -> SegmentPositions {
    SegmentPositions::from(Pine {})
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn scores_equal_the_definition() {
    let engine = engine(2);
    let steps = ids(42, 5);
    // More rows than are worked on together, beside so many segments.
    let many: Vec<usize> = std::iter::once(270).chain(std::iter::repeat_n(7, 16)).collect();
    for (prefix, lengths, suffix) in [
        (4, &many[..], 4),
        (12, &[17, 70, 33], 9),
        (0, &[5, 1, 64, 9], 1),
        (3, &[20, 31], 70),
        (40, &[130, 2, 7, 3, 11], 4),
        (8, &[25], 6),
    ] {
        let text = text(prefix, lengths, suffix);
        let found = read(&engine, "f32", &pine(), &text, &steps);
        let expected = Definition::new(&text).scores(engine.model(), &text, &steps);
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_near(found, expected, 1e-4, &format!("{lengths:?}, step {step}"));
        }
    }
}

#[test]
fn no_order_changes_a_bit_and_ordinary_positions_do() {
    let engine = engine(2);
    let (text, steps) = (text(12, &[17, 70, 33], 9), ids(42, 4));
    for cache in ["f32", "f16", "bf16", "int8", "int4", "kivi4"] {
        let expected = read(&engine, cache, &pine(), &text, &steps);
        for order in ORDERS {
            let found = read(&engine, cache, &pine(), &in_order(&text, order), &steps);
            assert!(found == expected, "{cache} {order:?}: off by {}", largest_difference(&found, &expected));
        }
    }
    let ordinary = SegmentPositions::from(Ordinary {});
    let expected = read(&engine, "f32", &ordinary, &text, &steps);
    for order in &ORDERS[1..] {
        let found = read(&engine, "f32", &ordinary, &in_order(&text, *order), &steps);
        assert!(largest_difference(&found, &expected) > 1e-2, "{order:?}");
    }
}

#[test]
fn equal_segments_and_one_in_another_change_nothing() {
    let engine = engine(1);
    let mut text = text(6, &[20, 33, 20], 5);
    for third in [text.segments[0].clone(), text.segments[1][..20].to_vec()] {
        text.segments[2] = third;
        let expected = read(&engine, "f32", &pine(), &text, &ids(42, 3));
        let naive = Definition::new(&text).scores(engine.model(), &text, &ids(42, 3));
        assert!(largest_difference(&expected, &naive) <= 1e-4);
        for order in ORDERS {
            assert!(read(&engine, "f32", &pine(), &in_order(&text, order), &ids(42, 3)) == expected, "{order:?}");
        }
    }
}

#[test]
fn what_is_written_after_a_set_is_the_same_for_all_orders() {
    let engine = engine(1);
    let text = text(12, &[17, 70, 33], 9);
    let written = |text: &SegmentedText| {
        let mut sequence = engine.sequence(&policy("full")).unwrap();
        let ids = pine().begin(&engine, &mut sequence, text).unwrap();
        let generation = Generation { tokens: 24, stop: Vec::new() };
        generate(&engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
    };
    let expected = written(&text);
    assert_eq!(expected.len(), 24);
    assert!(ORDERS.iter().all(|&order| written(&in_order(&text, order)) == expected));
}

#[test]
fn one_segment_is_an_ordinary_text() {
    let engine = engine(1);
    let text = text(12, &[70], 9);
    for cache in ["f32", "full", "kivi4"] {
        let ordinary = SegmentPositions::from(Ordinary {});
        let found = read(&engine, cache, &pine(), &text, &ids(42, 4));
        let expected = read(&engine, cache, &ordinary, &text, &ids(42, 4));
        // KIVI codes pages between chunks, and the prefix is a chunk of its own here.
        let tolerance = if cache == "kivi4" { 4.0 } else { 0.0 };
        assert!(largest_difference(&found, &expected) <= tolerance, "{cache}");
    }
}

/// A text with a set that has been read up to its suffix.
fn begun(engine: &Engine, text: &SegmentedText) -> Sequence {
    let mut sequence = engine.sequence(&policy("f32")).unwrap();
    engine.read_segments(&mut sequence, &text.prefix, &text.segments).unwrap();
    sequence
}

#[test]
fn rows_after_a_set_have_the_same_bits_alone_together_and_beside_others() {
    let engine = engine(2);
    // More rows than are worked on together, beside so many segments.
    let text = text(7, &[[40, 3, 60].as_slice(), &[6; 17]].concat(), 230);
    let mut alone = begun(&engine, &text);
    let fork = alone.clone();
    let expected: Vec<Vec<f32>> = continued(&engine, &mut alone, &text.suffix);
    let (mut together, mut other) = (fork.clone(), engine.sequence(&policy("f32")).unwrap());
    let ids = ids(60, 30);
    let mut chunks = [
        Chunk { sequence: &mut other, ids: &ids, prompt_ends: true, wanted: Wanted::Last },
        Chunk { sequence: &mut together, ids: &text.suffix, prompt_ends: true, wanted: Wanted::All },
    ];
    let found = engine.forward(&mut chunks).unwrap();
    let mut ordinary = engine.sequence(&policy("f32")).unwrap();
    assert_eq!(engine.prefill(&mut ordinary, &ids, |_| {}).unwrap(), found[0]);
    assert!(found[1].rows().eq(expected.iter().map(Vec::as_slice)));
    assert_eq!(together.tokens(), 7 + 205 + 230);
}

#[test]
fn memory_is_what_is_held() {
    let engine = engine(1);
    let text = text(32, &[64, 32], 1);
    let (set, fork) = (begun(&engine, &text), begun(&engine, &text));
    let mut plain = engine.sequence(&policy("f32")).unwrap();
    engine.prefill(&mut plain, &[&text.prefix[..], &text.segments.concat()].concat(), |_| {}).unwrap();
    let (bytes, ordinary) = (set.bytes(), plain.bytes());
    assert_eq!(bytes.pairs, ordinary.pairs);
    assert_eq!(bytes.waste, 0);
    // Raw keys with a vector of values, and their places.
    let raw = LAYERS * KV_HEADS * 96 * (4 * (HEAD_DIM + 16) + 4);
    assert_eq!(bytes.statistics, raw);
    assert!(set.peak_bytes() >= bytes.total());
    let shared = set.clone();
    assert_eq!(Sequence::bytes_together(&[&set, &shared]).statistics, raw);
    assert_eq!(Sequence::bytes_together(&[&set, &fork]).statistics, 2 * raw, "two readings share nothing");
}

#[test]
fn sliding_windows_see_segments_where_they_stand() {
    let text = text(90, &[50, 1, 64, 30], 12);
    let steps = ids(42, 5);
    for windows in [[Some(2), Some(40), None], [Some(100), Some(200), Some(500)]] {
        let engine = Engine::new(decoder(windows), 2).unwrap();
        let found = read(&engine, "f32", &pine(), &text, &steps);
        let expected = Definition::new(&text).scores(engine.model(), &text, &steps);
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_near(found, expected, 1e-4, &format!("{windows:?}, step {step}"));
        }
        let mut turned = text.clone();
        turned.segments.rotate_left(1);
        assert!(read(&engine, "f32", &pine(), &turned, &steps) == found, "{windows:?}");
        // A row has the bits that it has alone.
        let (mut alone, mut together) = (begun(&engine, &text), begun(&engine, &text));
        let expected = continued(&engine, &mut alone, &text.suffix);
        let chunk = Chunk { sequence: &mut together, ids: &text.suffix, prompt_ends: true, wanted: Wanted::All };
        assert!(engine.forward(&mut [chunk]).unwrap()[0].rows().eq(expected.iter().map(Vec::as_slice)), "{windows:?}");
    }
}

#[test]
fn models_without_positions_need_no_order() {
    let engine = with_position(Nope {}.into());
    let (text, steps) = (text(4, &[17, 20, 33], 5), ids(42, 2));
    let expected = read(&engine, "f32", &pine(), &text, &steps);
    let naive = Definition::new(&text).scores(engine.model(), &text, &steps);
    assert!(largest_difference(&expected, &naive) <= 1e-4);
    assert!(ORDERS.iter().all(|&order| read(&engine, "f32", &pine(), &in_order(&text, order), &steps) == expected));
}

/// The small model with other positions.
fn with_position(position: PositionSpec) -> Engine {
    let mut spec = decoder([None; LAYERS]).spec().clone();
    for layer in &mut spec.layers {
        let MixerSpec::SoftmaxSpec(mixer) = &mut layer.mixer else { panic!("a softmax layer") };
        mixer.position = position.clone();
    }
    random(spec)
}

fn random(spec: DecoderSpec) -> Engine {
    Engine::new(Decoder::random(spec, &Device::flex()).unwrap(), 1).unwrap()
}

#[test]
fn what_cannot_be_a_set_is_said() {
    let small = engine(1);
    let text = text(3, &[4, 5], 2);
    let refused = |engine: &Engine, cache: &str, text: &SegmentedText, says: &[&str]| {
        let mut sequence = engine.sequence(&policy(cache)).unwrap();
        let error = pine().begin(engine, &mut sequence, text).unwrap_err().to_string();
        assert!(says.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(sequence.tokens(), 0, "nothing has been read");
    };
    let with = |segments: &[&[u32]]| SegmentedText {
        segments: segments.iter().map(|ids| ids.to_vec()).collect(),
        ..text.clone()
    };
    refused(&small, "full", &with(&[]), &["no segment"]);
    refused(&small, "full", &with(&[&[1], &[]]), &["segment 2 is empty"]);
    refused(&small, "full", &with(&[&[1], &[50]]), &["token 50"]);
    refused(&small, "full", &with(&[&[1; 600], &[1; 500]]), &["1105 tokens", "1024"]);
    refused(&small, "full", &SegmentedText { suffix: Vec::new(), ..text.clone() }, &["nothing stands after"]);
    for (cache, why) in [
        ("snapkv(keep=0.5)", "lets pairs go"),
        ("quest(budget=128)", "chooses what a token reads"),
        ("gemfilter(budget=64)", "a part of a prompt"),
        ("act(heads=[[0, 0]])", "moves attention"),
    ] {
        refused(&small, cache, &text, &[cache.split('(').next().unwrap(), why, "`int8`"]);
    }
    refused(&with_position(Alibi {}.into()), "full", &text, &["layer 0", "alibi", "rotary positions or none"]);
    let mut spec = decoder([None; LAYERS]).spec().clone();
    spec.position = Some(InputPositionSpec::from(SinusoidalSpec::default()));
    refused(&random(spec), "full", &text, &["sinusoidal"]);

    let mut sequence = small.sequence(&CachePolicy::full()).unwrap();
    small.read_segments(&mut sequence, &[], &text.segments).unwrap();
    let second = small.read_segments(&mut sequence, &[], &text.segments);
    assert!(matches!(second, Err(EngineError::Segments(SegmentsError::Second { segments: 2 }))));
    let session = Session { sequence, unread: Vec::new(), note: String::new() };
    assert!(session.to_bytes(&small).unwrap_err().to_string().contains("read the segments anew"));
}

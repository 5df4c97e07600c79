//! Shared texts under prefixes that differ: what is exact, what is estimated, and when neither is tried.

mod small;

use headwise_engine::kvcomm::{KvComm, KvCommError, KvCommSettings, Parts, PartsError, Slot, Unlike};
use headwise_engine::{Engine, EngineError, Sequence, Wanted};
use small::{HEAD_DIM, LAYERS, engine, ids, policy};

const SETTINGS: KvCommSettings =
    KvCommSettings { gamma: 1.0, anchors: 4, oldest: 2, likely: 0.9, temperature: 1.0, reread: 3, bytes: usize::MAX };

fn pool(settings: KvCommSettings) -> KvComm {
    KvComm::new(settings, policy("full + f32"))
}

/// A prompt whose shared texts are `shared`, in places that depend on `agent`.
fn parts(agent: u64, shared: &[&[u32]]) -> Parts {
    let slot = |(slot, shared): (usize, &&[u32])| Slot {
        shared: (*shared).into(),
        own: ids(100 * agent + slot as u64, 6 + slot).into(),
    };
    Parts::new(ids(1000 + agent, 9 + agent as usize), shared.iter().enumerate().map(slot).collect()).unwrap()
}

/// `parts` read from the first token to the last but one.
fn dense(engine: &Engine, parts: &Parts, tokens: usize) -> Sequence {
    let mut sequence = engine.sequence(&policy("full + f32")).unwrap();
    let ids = &parts.ids()[..tokens];
    let chunk = headwise_engine::Chunk { sequence: &mut sequence, ids, prompt_ends: false, wanted: Wanted::Nothing };
    engine.forward(&mut [chunk]).unwrap();
    sequence
}

/// The largest difference of keys, and of values, in layer `layer`.
fn difference(one: &Sequence, other: &Sequence, layer: usize) -> [f32; 2] {
    let mut most = [0.0f32; 2];
    for (one, other) in one.layers()[layer].pairs().iter().zip(other.layers()[layer].pairs()) {
        assert_eq!(one.positions(), other.positions());
        for slot in 0..one.len() {
            let read = |pairs: &headwise_kernels::kv::KeyValues| {
                let (mut key, mut value) = ([0.0; HEAD_DIM], [0.0; HEAD_DIM]);
                pairs.read(slot, &mut key, &mut value);
                [key, value]
            };
            for (most, (one, other)) in most.iter_mut().zip(read(one).into_iter().zip(read(other))) {
                let pairs = one.iter().zip(&other);
                *most = pairs.fold(*most, |most, (a, b)| most.max((a - b).abs()));
            }
        }
    }
    most
}

/// A pool that has read `texts` as the shared texts of agent `agent`.
fn taught(engine: &Engine, settings: KvCommSettings, agent: u64, texts: &[Vec<u32>]) -> KvComm {
    let mut pool = pool(settings);
    for text in texts {
        let read = engine.read_parts(&mut pool, &parts(agent, &[text]), &policy("full + f32")).unwrap();
        assert!(read.unlike.is_some() && read.estimated == 0, "it has to be read: {:?}", read.unlike);
    }
    pool
}

#[test]
fn the_first_layer_is_exact_whatever_stands_before() {
    let engine = engine(2);
    let mut pool = taught(&engine, SETTINGS, 1, &[ids(1, 40), ids(2, 40)]);
    let parts = parts(1, &[&ids(3, 33)]);
    let read = engine.read_parts(&mut pool, &parts, &policy("full + f32")).unwrap();
    assert_eq!(read.unlike, None);
    assert_eq!(read.estimated, parts.tokens() - 3);
    let dense = dense(&engine, &parts, parts.tokens() - 1);
    let [keys, values] = difference(&read.sequence, &dense, 0);
    assert!(keys < 1e-4 && values < 1e-6, "{keys} {values}");
    let [keys, values] = difference(&read.sequence, &dense, LAYERS - 1);
    assert!(keys > 1e-2 && values > 1e-2, "the last layer is an estimate: {keys} {values}");
}

#[test]
fn a_text_that_was_there_before_is_as_it_was() {
    let engine = engine(1);
    let mut pool = taught(&engine, SETTINGS, 2, &[ids(1, 30), ids(2, 30)]);
    let parts = parts(2, &[&ids(2, 30)]);
    let read = engine.read_parts(&mut pool, &parts, &policy("full + f32")).unwrap();
    assert!(read.estimated > 0);
    let dense = dense(&engine, &parts, parts.tokens() - 1);
    for layer in 0..LAYERS {
        let [keys, values] = difference(&read.sequence, &dense, layer);
        assert!(keys < 1e-3 && values < 1e-3, "layer {layer}: {keys} {values}");
    }
}

#[test]
fn anchors_bring_an_estimate_nearer_than_bases_alone() {
    let engine = engine(2);
    // The same text but for three tokens.
    let variant = |seed: u64| {
        let mut text = ids(50, 40);
        text[10..13].copy_from_slice(&ids(seed, 3));
        text
    };
    let parts = parts(3, &[&variant(9)]);
    let dense = dense(&engine, &parts, parts.tokens() - 1);
    let error = |texts: &[Vec<u32>]| {
        let mut pool = taught(&engine, SETTINGS, 3, texts);
        let read = engine.read_parts(&mut pool, &parts, &policy("full + f32")).unwrap();
        assert!(read.estimated > 0);
        difference(&read.sequence, &dense, 1)
    };
    let [near, far] = [error(&[variant(1), variant(2)]), error(&[ids(61, 40), ids(62, 40)])];
    assert!(near[0] < 0.8 * far[0] && near[1] < 0.8 * far[1], "{near:?} {far:?}");
}

#[test]
fn several_texts_in_one_prompt_keep_their_places() {
    let engine = engine(1);
    let mut pool = pool(SETTINGS);
    let full = policy("full + f32");
    for seed in [1, 2] {
        engine.read_parts(&mut pool, &parts(4, &[&ids(seed, 20), &ids(seed + 10, 25)]), &full).unwrap();
    }
    let parts = parts(4, &[&ids(2, 20), &ids(11, 25)]);
    let read = engine.read_parts(&mut pool, &parts, &full).unwrap();
    assert_eq!(read.estimated, parts.tokens() - 3);
    let dense = dense(&engine, &parts, parts.tokens() - 1);
    assert!(difference(&read.sequence, &dense, 0)[0] < 1e-4);
}

#[test]
fn what_is_not_known_well_is_read() {
    let engine = engine(1);
    let full = policy("full + f32");
    let mut pool = taught(&engine, KvCommSettings { gamma: 0.0, ..SETTINGS }, 5, &[ids(1, 30)]);
    let mut unlike = |agent, text: &[u32]| engine.read_parts(&mut pool, &parts(agent, &[text]), &full).unwrap().unlike;
    assert_eq!(unlike(6, &ids(1, 30)), Some(Unlike::NewTemplate));
    assert_eq!(unlike(5, &ids(2, 31)), Some(Unlike::FewAnchors { slot: 0, anchors: 0 }), "the anchor is shorter");
    let undecided = unlike(5, &ids(4, 20)).unwrap();
    assert!(matches!(undecided, Unlike::Undecided { slot: 0, most: 0.0, .. }), "{undecided}");
}

#[test]
fn a_prompt_that_was_read_and_one_that_was_estimated_go_on_alike_where_both_know_the_text() {
    let engine = engine(2);
    let texts = [ids(1, 40), ids(2, 40)];
    let mut pool = taught(&engine, SETTINGS, 7, &texts);
    let parts = parts(7, &[&texts[0]]);
    let last = *parts.ids().last().unwrap();
    for text in ["full + f32", "snapkv(budget=30, window=4) + f32"] {
        let mut read = engine.read_parts(&mut pool, &parts, &policy(text)).unwrap();
        assert!(read.estimated > 0, "{text}");
        let mut dense = engine.sequence(&policy(text)).unwrap();
        let expected = small::read(&engine, &mut dense, &parts.ids(), parts.tokens());
        let found = small::read(&engine, &mut read.sequence, &[last], 1);
        let most = found.values.iter().zip(&expected.values).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(most < 1e-2, "{text}: {most}");
    }
}

#[test]
fn memory_stays_within_the_limit() {
    let engine = engine(1);
    let limit = 400_000;
    let mut pool = pool(KvCommSettings { bytes: limit, gamma: 0.0, ..SETTINGS });
    for seed in 0..40 {
        engine.read_parts(&mut pool, &parts(seed % 3, &[&ids(seed, 30)]), &policy("full + f32")).unwrap();
        assert!(pool.bytes() <= limit, "{}", pool.bytes());
    }
    assert!(pool.bytes() > limit / 4, "{}", pool.bytes());
}

#[test]
fn misuse_is_refused_with_the_reason() {
    let shared = Slot { shared: ids(1, 3).into(), own: ids(2, 3).into() };
    assert_eq!(Parts::new(ids(0, 2), Vec::new()), Err(PartsError::NothingShared));
    assert_eq!(Parts::new(Vec::new(), vec![shared.clone()]), Err(PartsError::Beginning));
    let empty = Slot { shared: Vec::new().into(), ..shared.clone() };
    assert_eq!(Parts::new(ids(0, 2), vec![shared.clone(), empty]), Err(PartsError::Empty(1)));
    let end = Slot { own: Vec::new().into(), ..shared };
    assert_eq!(Parts::new(ids(0, 2), vec![end]), Err(PartsError::End));

    let mut pool = pool(SETTINGS);
    let parts = parts(1, &[&ids(1, 10)]);
    for text in ["h2o(budget=20) + f32", "streaming(budget=20) + f32", "full + f16", "quest(budget=128) + f32"] {
        let error = engine(1).read_parts(&mut pool, &parts, &policy(text)).unwrap_err();
        assert!(matches!(&error, EngineError::KvComm(KvCommError::Policy { .. })), "{text}: {error}");
    }
    let mut windows = [None; LAYERS];
    windows[1] = Some(8);
    let windowed = Engine::new(small::decoder(windows), 1).unwrap();
    let error = windowed.read_parts(&mut pool, &parts, &policy("full + f32")).unwrap_err();
    assert!(matches!(error, EngineError::KvComm(KvCommError::Window { layer: 1 })), "{error}");
}

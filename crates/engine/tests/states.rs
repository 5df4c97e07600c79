//! Models whose mixers keep a state of the text, alone and beside softmax attention.

use burn::tensor::Device;
use headwise_engine::cache::{CachePolicy, PolicyError};
use headwise_engine::kvcomm::{KvComm, KvCommError, KvCommSettings};
use headwise_engine::pine::SegmentsError;
use headwise_engine::{
    Chunk, Engine, EngineError, Generation, PromptLookup, Sampler, Sequence, Session, Wanted, generate, generate_with,
};
use headwise_models::decoder::{Decoder, DecoderSpec};

const VOCABULARY: u32 = 23;
const DIM: usize = 32;

/// Layers of attention and layers with states, and both in one layer.
const HYBRID: [&str; 5] = [
    "softmax(heads=4, kv_heads=2)",
    "gla(heads=2)",
    "softmax(heads=2, convolution=3)",
    "retention(heads=2, norm=full, convolution=4)",
    "linear_attention(heads=2, convolution=2)",
];
const LINEAR: [&str; 2] = ["linear_attention(heads=2, feature_map=softmax)", "retention(heads=2)"];

fn decoder(mixers: &[&str]) -> Decoder {
    let layer = |mixer: &&str| format!("[[layers]]\nmixer = \"{mixer}\"\nchannel = \"gated(hidden=32)\"\n");
    let layers: String = mixers.iter().map(layer).collect();
    let spec = format!("vocabulary = {VOCABULARY}\ndim = {DIM}\ncontext = 600\nepsilon = 1e-6\n{layers}");
    let spec: DecoderSpec = toml::from_str(&spec).unwrap();
    let device = Device::flex();
    device.seed(7);
    Decoder::random(spec, &device).unwrap()
}

fn engine(mixers: &[&str]) -> Engine {
    Engine::new(decoder(mixers), 2).unwrap()
}

fn ids(tokens: usize, seed: u32) -> Vec<u32> {
    (0..tokens as u32).map(|token| (token * token + seed * token / 3 + seed) % VOCABULARY).collect()
}

fn f32() -> CachePolicy {
    CachePolicy::parse("f32").unwrap()
}

/// The scores after every one of `ids`, the next tokens of `sequence`, read in pieces of these lengths in turn.
fn read(engine: &Engine, sequence: &mut Sequence, ids: &[u32], pieces: &[usize]) -> Vec<f32> {
    let (mut scores, mut rest, mut pieces) = (Vec::new(), ids, pieces.iter().cycle());
    while !rest.is_empty() {
        let (ids, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
        let chunk = Chunk { sequence: &mut *sequence, ids, prompt_ends: false, wanted: Wanted::All };
        scores.extend(engine.forward(&mut [chunk]).unwrap().remove(0).values);
        rest = after;
    }
    scores
}

#[test]
fn the_engine_gives_what_training_sees() {
    for mixers in [&HYBRID[..], &LINEAR[..]] {
        let (model, ids) = (decoder(mixers), ids(150, 1));
        let expected: Vec<f32> = model.forward(&ids, &Device::flex()).into_data().try_into_vec().unwrap();
        let engine = Engine::new(model, 1).unwrap();
        let scores = read(&engine, &mut engine.sequence(&f32()).unwrap(), &ids, &[40, 1]);
        let largest = expected.iter().fold(0.0f32, |largest, score| largest.max(score.abs()));
        let most = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(scores.len() == expected.len() && most < 1e-4 * largest, "{mixers:?}: {most} of {largest}");
    }
}

#[test]
fn a_text_has_the_same_bits_in_any_pieces_and_beside_others() {
    for mixers in [&HYBRID[..], &LINEAR[..]] {
        let (engine, own, other) = (engine(mixers), ids(130, 2), ids(50, 3));
        let start = || engine.sequence(&CachePolicy::full()).unwrap();
        let alone = read(&engine, &mut start(), &own, &[130]);
        assert_eq!(read(&engine, &mut start(), &own, &[1]), alone, "{mixers:?}: token by token");
        assert_eq!(read(&engine, &mut start(), &own, &[64, 3, 17]), alone, "{mixers:?}: in pieces");
        let (mut first, mut second) = (start(), start());
        let others = read(&engine, &mut start(), &other, &[50]);
        let mut beside = Vec::new();
        for (own, other) in own.chunks(13).zip(other.chunks(5)) {
            let wanted = |sequence, ids| Chunk { sequence, ids, prompt_ends: false, wanted: Wanted::All };
            let both = engine.forward(&mut [wanted(&mut first, other), wanted(&mut second, own)]).unwrap();
            beside.push(both);
        }
        let [of_other, of_own] =
            [0, 1].map(|text| beside.iter().flat_map(|both| both[text].values.clone()).collect::<Vec<_>>());
        assert!(of_own == alone && of_other == others, "{mixers:?}: beside others");
    }
}

#[test]
fn a_fork_goes_on_by_itself() {
    let engine = engine(&HYBRID);
    let mut first = engine.sequence(&f32()).unwrap();
    read(&engine, &mut first, &ids(60, 4), &[60]);
    let mut fork = first.clone();
    let expected = read(&engine, &mut fork.clone(), &ids(20, 5), &[20]);
    read(&engine, &mut first, &ids(20, 6), &[20]);
    assert_eq!(read(&engine, &mut fork, &ids(20, 5), &[20]), expected);
    assert_ne!(read(&engine, &mut first, &[1], &[1]), read(&engine, &mut fork, &[1], &[1]));
}

#[test]
fn states_do_not_grow_and_are_counted() {
    for mixers in [&HYBRID[..], &LINEAR[..]] {
        let engine = engine(mixers);
        let of_specs: usize = engine.spec().layers.iter().map(|layer| layer.mixer.state(DIM).bytes()).sum();
        for tokens in [1, 10, 500] {
            let mut sequence = engine.sequence(&CachePolicy::full()).unwrap();
            engine.prefill(&mut sequence, &ids(tokens, 8), |_| {}).unwrap();
            let bytes = sequence.bytes();
            assert!(of_specs > 0 && bytes.states == of_specs, "{mixers:?}, {tokens} tokens: {bytes:?}");
            assert_eq!(bytes.total(), engine.uncompressed_bytes(tokens), "{mixers:?}, {tokens} tokens");
            assert_eq!(bytes.pairs > 0, mixers == &HYBRID[..]);
        }
    }
}

#[test]
fn policies_act_on_the_layers_that_attend() {
    let engine = engine(&HYBRID);
    let policy = CachePolicy::parse("streaming(budget=40, sinks=4)").unwrap();
    let mut sequence = engine.sequence(&policy).unwrap();
    engine.prefill(&mut sequence, &ids(300, 9), |_| {}).unwrap();
    for id in ids(20, 10) {
        engine.step(&mut sequence, id).unwrap();
        let held: Vec<usize> = sequence.layers().iter().map(|layer| layer.longest()).collect();
        // Eviction goes by steps of an eighth.
        assert!(
            held.iter().zip([40, 0, 40, 0, 0]).all(|(held, most)| (most * 7 / 8..=most).contains(held)),
            "{held:?}"
        );
    }
    let without_attention = self::engine(&LINEAR);
    for policy in ["snapkv(keep=0.25)", "razor(keep=0.5)", "quest(budget=96)", "gemfilter(keep=0.5)", "act"] {
        let generous = policy.replace("0.25", "1").replace("0.5", "1").replace("96", "600");
        engine
            .prefill(&mut engine.sequence(&CachePolicy::parse(&generous).unwrap()).unwrap(), &ids(300, 9), |_| {})
            .unwrap();
        let refused = without_attention.sequence(&CachePolicy::parse(policy).unwrap()).unwrap_err().to_string();
        assert!(refused.contains("no layer of the model keeps keys and values"), "{policy}: {refused}");
    }
    let stages = engine.sequence(&CachePolicy::parse("uncomp_stages").unwrap()).unwrap_err();
    assert!(matches!(stages, EngineError::Policy(PolicyError::StagesOfStates { layer: 1, mixer: "gla" })), "{stages}");
}

#[test]
fn a_session_goes_on_with_the_same_bits() {
    for mixers in [&HYBRID[..], &LINEAR[..]] {
        let engine = engine(mixers);
        let mut sequence = engine.sequence(&CachePolicy::full()).unwrap();
        read(&engine, &mut sequence, &ids(77, 11), &[77]);
        let session = Session { sequence, unread: Vec::new(), note: String::new() };
        let bytes = session.to_bytes(&engine).unwrap();
        let mut loaded = Session::from_bytes(&engine, &bytes, None).unwrap().sequence;
        let mut sequence = session.sequence;
        assert_eq!(loaded.bytes(), sequence.bytes());
        assert_eq!(
            read(&engine, &mut loaded, &ids(20, 12), &[20]),
            read(&engine, &mut sequence, &ids(20, 12), &[20]),
            "{mixers:?}"
        );
    }
}

#[test]
fn what_takes_tokens_back_or_moves_them_is_refused() {
    let engine = engine(&HYBRID);
    let full = CachePolicy::full();
    let generation = Generation { tokens: 8, stop: Vec::new() };
    let mut sequence = engine.sequence(&full).unwrap();
    let lookup = PromptLookup::new(4);
    let error =
        generate_with(&engine, &mut sequence, &ids(30, 13), &generation, &mut Sampler::greedy(), Some(&lookup), |_| {
            true
        })
        .unwrap_err();
    assert!(matches!(error, EngineError::NoRollback { layer: 1, mixer: "gla" }), "{error}");
    assert_eq!(sequence.tokens(), 0, "nothing has been read");
    let segments = [ids(5, 1), ids(5, 2)];
    let error = engine.read_segments(&mut sequence, &[1], &segments).unwrap_err();
    assert!(matches!(error, EngineError::Segments(SegmentsError::State { layer: 1, .. })), "{error}");
    let error = KvComm::new(KvCommSettings::default(), full.clone()).check(&engine, &full).unwrap_err();
    assert!(matches!(error, KvCommError::State { layer: 1, mixer: "gla" }), "{error}");
    assert!(self::engine(&LINEAR).head_scores().is_err());
    let written =
        generate(&engine, &mut sequence, &ids(30, 13), &generation, &mut Sampler::greedy(), |_| true).unwrap();
    assert_eq!(written.ids.len(), 8);
}

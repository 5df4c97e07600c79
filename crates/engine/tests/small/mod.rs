//! A small decoder with random weights, peaked enough that policies differ, and ways to run it.

#![allow(dead_code)] // Not every test uses all of it.

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, Logits, Sequence, Wanted};
use headwise_kernels::matrix::PackedMatrix;
use headwise_models::decoder::{Decoder, DecoderSpec, ModelFamily};
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::channel::{Channel, ChannelSpec, Gate, GatedSpec};
use headwise_nn::mixer::{Mixer, MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::{Embedding, Linear};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const LAYERS: usize = 3;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 16;
pub const CONTEXT: usize = 1024;
pub const VOCABULARY: usize = 50;
const DIM: usize = 48;
const HIDDEN: usize = 64;

/// Every evicting policy, without its limit.
pub const EVICTING: [&str; 10] = [
    "streaming",
    "h2o",
    "snapkv(window=8)",
    "pyramidkv(window=8, beta=3)",
    "tova",
    "knorm",
    "keydiff",
    "expected_attention(future=64)",
    "random(seed=5)",
    "razor(recent=4)",
];

/// Every policy of reading, without its budget, so that short texts are not read whole.
pub const READING: [&str; 5] = [
    "quest(dense_layers=0)",
    "token_select(sinks=2, recent=9)",
    "long_heads(chunk=16)",
    "hip(sinks=2, recent=9, refresh=4, dense_layers=0)",
    "recycled(stride=4)",
];

/// `policy` with more parameters.
pub fn with(policy: &str, parameters: &str) -> String {
    match policy.strip_suffix(')') {
        Some(start) => format!("{start}, {parameters})"),
        None => format!("{policy}({parameters})"),
    }
}

pub fn policy(text: &str) -> CachePolicy {
    CachePolicy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

pub fn ids(seed: u64, count: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(0..VOCABULARY as u32)).collect()
}

pub fn engine(threads: usize) -> Engine {
    Engine::new(decoder([None; LAYERS]), threads).unwrap()
}

/// The model, its weights packed, so that a row does not depend on other rows; layers may have sliding windows.
pub fn decoder(windows: [Option<usize>; LAYERS]) -> Decoder {
    let layer = |window| BlockSpec {
        mixer: MixerSpec::from(SoftmaxSpec {
            heads: HEADS,
            kv_heads: Some(KV_HEADS),
            head_dim: Some(HEAD_DIM),
            window,
            ..SoftmaxSpec::default()
        }),
        channel: Some(ChannelSpec::from(GatedSpec { hidden: HIDDEN, gate: Gate::Silu })),
        norms: Norms::Pre,
        norm: NormSpec::Rms,
    };
    let spec = DecoderSpec {
        family: ModelFamily::Decoder,
        vocabulary: VOCABULARY,
        dim: DIM,
        context: CONTEXT,
        epsilon: 1e-5,
        embedding_scale: None,
        position: None,
        tied: false,
        final_norm: true,
        embedding_dim: None,
        shared_by: 1,
        final_softcap: None,
        sentinels: None,
        layers: windows.map(layer).to_vec(),
    };
    let mut decoder = Decoder::random(spec, &Device::flex()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut matrix = |outputs: usize, inputs: usize, gain: f32| {
        let most = gain * (3.0 / inputs as f32).sqrt();
        let weights: Vec<f32> = (0..outputs * inputs).map(|_| rng.random_range(-most..most)).collect();
        PackedMatrix::from_f32(&weights, outputs, inputs)
    };
    decoder.embedding = Embedding::packed(matrix(VOCABULARY, DIM, 5.0));
    decoder.head = Some(Linear::packed(matrix(VOCABULARY, DIM, 2.0), None));
    let (queries, keys) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    for block in &mut decoder.blocks {
        let Mixer::Softmax(mixer) = &mut block.mixer else { panic!("a softmax layer") };
        mixer.query = Linear::packed(matrix(queries, DIM, 1.5), None);
        mixer.key = Linear::packed(matrix(keys, DIM, 1.5), None);
        mixer.value = Linear::packed(matrix(keys, DIM, 1.0), None);
        mixer.output = Linear::packed(matrix(DIM, queries, 1.0), None);
        let Some(Channel::Gated(channel)) = &mut block.channel else { panic!("a gated layer") };
        channel.gate = Linear::packed(matrix(HIDDEN, DIM, 1.0), None);
        channel.up = Linear::packed(matrix(HIDDEN, DIM, 1.0), None);
        channel.down = Linear::packed(matrix(DIM, HIDDEN, 1.0), None);
    }
    decoder
}

/// Reads `prompt` in chunks of `chunk` tokens and ends it.
pub fn read(engine: &Engine, sequence: &mut Sequence, prompt: &[u32], chunk: usize) -> Logits {
    let mut logits = Logits::default();
    let chunks = prompt.len().div_ceil(chunk);
    for (index, ids) in prompt.chunks(chunk).enumerate() {
        let chunk = Chunk { sequence: &mut *sequence, ids, prompt_ends: index + 1 == chunks, wanted: Wanted::Last };
        logits = engine.forward(&mut [chunk]).unwrap().remove(0);
    }
    logits
}

/// The scores after the prompt and after each of `steps`, and the text they leave.
pub fn run(engine: &Engine, text: &str, prompt: &[u32], steps: &[u32]) -> (Vec<Vec<f32>>, Sequence) {
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    let mut logits = vec![read(engine, &mut sequence, prompt, prompt.len()).values];
    logits.extend(continued(engine, &mut sequence, steps));
    (logits, sequence)
}

/// The scores after each of `steps`.
pub fn continued(engine: &Engine, sequence: &mut Sequence, steps: &[u32]) -> Vec<Vec<f32>> {
    steps.iter().map(|&id| engine.step(sequence, id).unwrap().values).collect()
}

/// The positions held, of every layer and head.
pub fn positions(sequence: &Sequence) -> Vec<Vec<Vec<i32>>> {
    sequence
        .layers()
        .iter()
        .map(|layer| layer.pairs().iter().map(|pairs| pairs.positions().to_vec()).collect())
        .collect()
}

/// Pairs held, of every layer and head.
pub fn lengths(sequence: &Sequence) -> Vec<Vec<usize>> {
    sequence.layers().iter().map(|layer| layer.pairs().iter().map(|pairs| pairs.len()).collect()).collect()
}

#[track_caller]
pub fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}, allowed {tolerance}");
    assert!(found.iter().all(|x| x.is_finite()), "{what}: not finite");
}

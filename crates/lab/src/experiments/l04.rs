//! L04, retention: one operator in three forms, with a memory that does not grow. arXiv:2307.08621.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use headwise_engine::Engine;
use headwise_engine::cache::CachePolicy;
use headwise_models::decoder::{Decoder, DecoderSpec, ModelFamily};
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::mixer::{MixContext, MixerSpec, MixerState, Retention, RetentionSpec, Segment, SoftmaxSpec, States};
use headwise_nn::norm::NormSpec;
use headwise_ops::host::Host;
use headwise_ops::{Decay, Recurrence, linear_recurrence};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "L04",
    claims: &[
        Claim {
            text: "largest difference of the parallel form in f64 and the chunkwise form, relative to the largest output, 200 tokens, \
                   4 heads of 32",
            direction: Direction::AtMost,
            threshold: 1e-5,
        },
        Claim {
            text: "largest difference of the whole layer read at once and token by token, relative to the largest output, 200 tokens",
            direction: Direction::AtMost,
            threshold: 1e-4,
        },
        Claim {
            text: "bytes of memory after 10 000 tokens, in those after 10; baseline: a key-value cache",
            direction: Direction::AtMost,
            threshold: 1.0,
        },
        Claim {
            text: "time of a token after 10 000 others, in that after 10; baseline: softmax with a key-value cache",
            direction: Direction::AtMost,
            threshold: 1.2,
        },
        Claim {
            text: "largest error of the gradient of the last output by each value, against gamma^distance (q k) / sqrt(d)",
            direction: Direction::AtMost,
            threshold: 1e-5,
        },
    ],
    seconds: 30,
    source: include_str!("l04.rs"),
    run,
};

const HEADS: usize = 4;
const WIDTH: usize = 32;
const TOKENS: usize = 200;
const DIM: usize = HEADS * WIDTH;
const EARLY: usize = 10;
const LATE: usize = 10_000;

fn run(seed: u64) -> Vec<Measured> {
    let [bytes, time] = growth(seed);
    let [cache_bytes, cache_time] = cache_growth(seed);
    vec![
        Measured::alone(parallel_and_chunkwise(seed)),
        Measured::alone(whole_and_steps(seed)),
        Measured::against(bytes, cache_bytes),
        Measured::against(time, cache_time),
        Measured::alone(receptive_field(seed)),
    ]
}

/// `γ_h` of head `head`.
fn gamma(head: usize) -> f64 {
    1.0 - (-5.0 - head as f64).exp2()
}

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0f32..1.0)).collect()
}

/// Query, key and value `[1, heads, tokens, width]`.
fn inputs(seed: u64) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|part| numbers(3 * seed + part, HEADS * TOKENS * WIDTH))
}

fn tensor(values: &[f32], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, HEADS, TOKENS, WIDTH]), device)
}

fn retention([query, key, value]: [Tensor<4>; 3]) -> Tensor<4> {
    let decays: Vec<f32> = (0..HEADS).map(|head| gamma(head).ln() as f32).collect();
    let decay = Decay::Head(Tensor::from_data(TensorData::new(decays, [HEADS]), &query.device()));
    let spec = Recurrence { scale: 1.0 / (WIDTH as f32).sqrt(), normalise: false };
    linear_recurrence(query, key, value, decay, &spec, &[0, TOKENS], None).output
}

/// `(Q Kᵀ ⊙ D) V / √d` in f64 against the chunkwise kernel.
fn parallel_and_chunkwise(seed: u64) -> f64 {
    let device = Device::flex();
    let inputs = inputs(seed);
    let found = Host::new(retention(inputs.each_ref().map(|values| tensor(values, &device))));
    let [query, key, value] = &inputs;
    let mut expected = vec![0.0f64; HEADS * TOKENS * WIDTH];
    for head in 0..HEADS {
        let row = |values: &[f32], token: usize| -> Vec<f64> {
            values[(head * TOKENS + token) * WIDTH..][..WIDTH].iter().map(|&x| x.into()).collect()
        };
        for token in 0..TOKENS {
            for earlier in 0..=token {
                let product: f64 = row(query, token).iter().zip(row(key, earlier)).map(|(q, k)| q * k).sum();
                let weight = product * gamma(head).powi((token - earlier) as i32) / (WIDTH as f64).sqrt();
                for (channel, value) in row(value, earlier).into_iter().enumerate() {
                    expected[(head * TOKENS + token) * WIDTH + channel] += weight * value;
                }
            }
        }
    }
    difference(found.as_slice(), &expected)
}

/// The largest difference, in the largest expected value.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0.0f64, |most, (&a, b)| most.max((f64::from(a) - b).abs())) / largest
}

fn layer(seed: u64, device: &Device) -> Retention {
    device.seed(seed);
    Retention::random(RetentionSpec { heads: HEADS, ..RetentionSpec::default() }, DIM, device)
}

fn whole_and_steps(seed: u64) -> f64 {
    let device = Device::flex();
    let layer = layer(seed, &device);
    let x = numbers(seed, TOKENS * DIM);
    let positions: Vec<i32> = (0..TOKENS as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..TOKENS }];
    let mut ctx = MixContext::new(&positions, &segments);
    let whole = Tensor::<3>::from_data(TensorData::new(x.clone(), [1, TOKENS, DIM]), &device);
    let whole = Host::new(layer.forward(whole, &mut ctx));
    let mut state = MixerSpec::from(layer.spec().clone()).state(DIM);
    let mut steps = Vec::new();
    for (position, token) in x.chunks_exact(DIM).enumerate() {
        steps.extend(step(&layer, token, position, &mut state).as_slice().iter().map(|&value| f64::from(value)));
    }
    difference(whole.as_slice(), &steps)
}

/// One token `[DIM]` at `position` of a text, of which `state` is what is kept.
fn step(layer: &Retention, token: &[f32], position: usize, state: &mut MixerState) -> Host {
    let segments = [Segment { sequence: 0, rows: 0..1 }];
    let mut kept = States(std::slice::from_mut(state));
    let positions = [position as i32];
    let mut ctx = MixContext { cache: Some(&mut kept), ..MixContext::new(&positions, &segments) };
    let token = TensorData::new(token.to_vec(), [1, 1, DIM]);
    Host::new(layer.forward(Tensor::from_data(token, &Device::flex()), &mut ctx))
}

/// How much memory and time grow from early to late tokens.
fn growth(seed: u64) -> [f64; 2] {
    let device = Device::flex();
    let layer = layer(seed, &device);
    let token = numbers(seed, DIM);
    let mut state = MixerSpec::from(layer.spec().clone()).state(DIM);
    let mut times = Vec::new();
    let mut early_bytes = 0;
    for position in 0..LATE + AROUND {
        let started = Instant::now();
        drop(step(&layer, &token, position, &mut state));
        times.push(started.elapsed().as_secs_f64());
        if position == EARLY {
            early_bytes = state.bytes();
        }
    }
    [state.bytes() as f64 / early_bytes as f64, ratio(&times)]
}

/// Tokens around each place whose median time counts.
const AROUND: usize = 200;

fn ratio(times: &[f64]) -> f64 {
    let median = |start: usize| {
        let mut around = times[start..start + AROUND].to_vec();
        around.sort_by(f64::total_cmp);
        around[AROUND / 2]
    };
    median(LATE) / median(EARLY)
}

/// The same of one softmax layer of the same heads with a key-value cache.
fn cache_growth(seed: u64) -> [f64; 2] {
    let block = BlockSpec {
        mixer: SoftmaxSpec { heads: HEADS, ..SoftmaxSpec::default() }.into(),
        channel: None,
        norms: Norms::Pre,
        norm: NormSpec::Rms,
    };
    let spec = DecoderSpec {
        family: ModelFamily::Decoder,
        vocabulary: 16,
        dim: DIM,
        context: LATE + 2 * AROUND,
        epsilon: 1e-6,
        embedding_scale: None,
        position: None,
        tied: true,
        final_norm: true,
        embedding_dim: None,
        shared_by: 1,
        final_softcap: None,
        sentinels: None,
        layers: vec![block],
    };
    let device = Device::flex();
    device.seed(seed);
    let model = Decoder::random(spec, &device).expect("a sound spec");
    let engine = Engine::new(model, 0).expect("threads");
    let mut sequence = engine.sequence(&CachePolicy::full()).expect("the full cache fits every model");
    let ids: Vec<u32> = (0..LATE as u32).map(|token| token % 16).collect();
    let mut timed = |ids: &[u32]| {
        engine.prefill(&mut sequence, ids, |_| {}).expect("within the context");
        let bytes = sequence.bytes().total() as f64;
        let mut times: Vec<f64> = (0..AROUND)
            .map(|_| {
                let started = Instant::now();
                engine.step(&mut sequence, 1).expect("within the context");
                started.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        (bytes, times[AROUND / 2])
    };
    let (early, late) = (timed(&ids[..EARLY]), timed(&ids[EARLY + AROUND..]));
    [late.0 / early.0, late.1 / early.1]
}

/// The gradient of the sum of the last token's first output channel by every value.
fn receptive_field(seed: u64) -> f64 {
    let device = Device::flex().autodiff();
    let inputs = inputs(seed);
    let [query, key, value] = inputs.each_ref().map(|values| tensor(values, &device));
    let value = value.require_grad();
    let output = retention([query, key, value.clone()]);
    let last = output.narrow(2, TOKENS - 1, 1).narrow(3, 0, 1).sum();
    let gradient = value.grad(&last.backward()).expect("the values have a gradient");
    let gradient = Host::new(gradient);
    let [query, key, _] = &inputs;
    let mut worst = 0.0f64;
    for head in 0..HEADS {
        let row = |values: &'_ [f32], token: usize| values[(head * TOKENS + token) * WIDTH..][..WIDTH].to_vec();
        let last = row(query, TOKENS - 1);
        for token in 0..TOKENS {
            let product: f64 = last.iter().zip(row(key, token)).map(|(&q, k)| f64::from(q) * f64::from(k)).sum();
            let expected = product * gamma(head).powi((TOKENS - 1 - token) as i32) / (WIDTH as f64).sqrt();
            let found = f64::from(gradient.as_slice()[(head * TOKENS + token) * WIDTH]);
            worst = worst.max((found - expected).abs());
        }
    }
    worst
}

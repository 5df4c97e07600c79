//! A decoder whose weights are written down, not trained: it copies what followed an earlier occurrence.
//!
//! After `… A B … A` it emits `B` with probability above 0.999, through two heads. A *previous-token head* (layer 0,
//! head 0) writes the code of token `i − 1` beside token `i`; a *match head* (layer 1, head 0) finds the slot whose
//! previous code equals the current token's and copies its code to the output. So exactly one slot of one key-value head
//! holds the answer: evicting it kills the answer, evicting anything else does not. All other heads are
//! distractors: a wide local head, heads that attend to the first token, and heads that attend to everything.
//!
//! Residual stream: `[code | previous code | output | one]`. Olsson et al. 2022, arXiv:2209.11895, describe the circuit.

use std::collections::HashMap;

use burn::tensor::Device;
use headwise_kernels::matrix::PackedMatrix;
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::mixer::{MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::{Nope, PositionSpec, RopeSpec};
use rand::{RngExt, SeedableRng};

use super::load::{Loader, Names, Source, Weights};
use super::{Decoder, DecoderSpec, LoadError, ModelFamily};

/// Channels of a token's code, and of a head.
const CODE: usize = 128;
/// Tokens; token 0 stands first in every text.
const VOCABULARY: usize = 256;
/// Largest cosine of two codes.
const MOST_ALIKE: f64 = 0.35;
/// Channel that is always one.
const ONE: usize = 3 * CODE;
/// Width of the residual stream: three codes and the constant channel, padded.
const DIM: usize = 3 * CODE + 16;
const THETA: f64 = 100_000.0;
/// Score by which the previous token beats every other.
const PREVIOUS_GAP: f64 = 20.0;
/// Score of a perfect match; others reach at most `MOST_ALIKE` of it.
const MATCH_GAIN: f64 = 40.0;
/// Logit of a copied code.
const OUTPUT_GAIN: f64 = 20.0;
/// Share of the distractors in the output.
const DISTRACTION: f64 = 0.01;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;

const NAMES: Names = Names {
    embedding: "embedding",
    factor_up: "factor_up",
    factor_down: "factor_down",
    norm: "norm",
    head: "head",
    query: "{}.query",
    key: "{}.key",
    value: "{}.value",
    output: "{}.output",
    query_norm: "{}.query_norm",
    key_norm: "{}.key_norm",
    mixer_before: "{}.mixer_before",
    mixer_after: "{}.mixer_after",
    channel_before: "{}.channel_before",
    channel_after: "{}.channel_after",
    gate: "{}.gate",
    up: "{}.up",
    down: "{}.down",
};

/// The hand-built induction model: its description and its tensors.
#[derive(Clone, Debug)]
pub struct Induction {
    spec: DecoderSpec,
    tensors: HashMap<String, Vec<f32>>,
}

impl Induction {
    /// The token that must stand first in every text.
    pub const START: u32 = 0;
    /// Tokens a text may use after the first.
    pub const TOKENS: std::ops::Range<u32> = 1..VOCABULARY as u32;
    /// Layer of the match head.
    pub const MATCH_LAYER: usize = 1;
    /// Key-value head that the match head reads.
    pub const MATCH_HEAD: usize = 0;

    /// The model with token codes drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let codes = codes(seed);
        let mut tensors = HashMap::new();
        let mut embedding = Matrix::new(VOCABULARY, DIM);
        let mut head = Matrix::new(VOCABULARY, DIM);
        for (token, code) in codes.iter().enumerate() {
            for (channel, &x) in code.iter().enumerate() {
                embedding.set(token, channel, x);
                head.set(token, 2 * CODE + channel, OUTPUT_GAIN * x);
            }
            embedding.set(token, ONE, 1.0);
        }
        tensors.insert("embedding.weight".into(), embedding.elements);
        tensors.insert("head.weight".into(), head.elements);
        previous_token_layer(&codes[0], &mut tensors);
        match_layer(&codes[0], &mut tensors);
        let layer = |position: PositionSpec| BlockSpec {
            mixer: MixerSpec::from(SoftmaxSpec {
                heads: HEADS,
                kv_heads: Some(KV_HEADS),
                head_dim: Some(CODE),
                position,
                scale: Some(1.0),
                ..SoftmaxSpec::default()
            }),
            channel: None,
            norms: Norms::None,
            norm: NormSpec::Rms,
        };
        let spec = DecoderSpec {
            family: ModelFamily::Decoder,
            vocabulary: VOCABULARY,
            dim: DIM,
            context: 1 << 20,
            epsilon: 1e-6,
            embedding_scale: None,
            position: None,
            tied: false,
            final_norm: false,
            embedding_dim: None,
            shared_by: 1,
            final_softcap: None,
            sentinels: None,
            layers: vec![layer(RopeSpec::new(THETA).into()), layer(Nope {}.into())],
        };
        Self { spec, tensors }
    }

    /// The model with its weights in the form `weights`.
    pub fn decoder(&self, weights: Weights, device: &Device) -> Result<Decoder, LoadError> {
        let loader = Loader { source: self, names: &NAMES, weights, interleaved: false, norm_offset: 0.0, device };
        loader.decoder(self.spec.clone())
    }
}

impl Source for Induction {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensors.get(name).ok_or_else(|| LoadError::missing(name))?;
        assert_eq!(tensor.len(), shape.iter().product::<usize>(), "{name}");
        Ok(tensor.clone())
    }

    fn packed(&self, name: &str, shape: [usize; 2], _: Option<usize>) -> Result<PackedMatrix, LoadError> {
        Ok(PackedMatrix::from_f32(&self.floats(name, &shape)?, shape[0], shape[1]))
    }
}

/// A row-major matrix `[outputs, inputs]` being written.
struct Matrix {
    inputs: usize,
    elements: Vec<f32>,
}

impl Matrix {
    fn new(outputs: usize, inputs: usize) -> Self {
        Self { inputs, elements: vec![0.0; outputs * inputs] }
    }

    fn set(&mut self, output: usize, input: usize, value: f64) {
        self.elements[output * self.inputs + input] = value as f32;
    }

    /// `value` from input channel `from + c` to output channel `to + c` for every channel `c` of a code.
    fn copy_code(&mut self, from: usize, to: usize, value: f64) {
        for channel in 0..CODE {
            self.set(to + channel, from + channel, value);
        }
    }
}

/// Layer 0. Heads 0 and 1 share a key of ones, which rotation turns into "how far back"; heads 2 and 3 share a key that
/// only the first token has.
fn previous_token_layer(start: &[f64], tensors: &mut HashMap<String, Vec<f32>>) {
    let mut query = Matrix::new(HEADS * CODE, DIM);
    let mut key = Matrix::new(KV_HEADS * CODE, DIM);
    let mut value = Matrix::new(KV_HEADS * CODE, DIM);
    let half = CODE / 2;
    let angle = |pair: usize| THETA.powf(-2.0 * pair as f64 / CODE as f64);
    // Rotated scores at distance 1 and at distances 0 and 2 of an unscaled query that looks one token back.
    let best = 2.0 * half as f64;
    let next: f64 = (0..half).map(|pair| 2.0 * angle(pair).cos()).sum();
    let sharp = PREVIOUS_GAP / (best - next);
    for pair in 0..half {
        let (sin, cos) = (-angle(pair)).sin_cos();
        for (head, gain) in [(0, sharp), (1, sharp / 64.0)] {
            // The vector of ones, turned back by one position.
            query.set(head * CODE + pair, ONE, gain * (cos - sin));
            query.set(head * CODE + half + pair, ONE, gain * (cos + sin));
        }
        key.set(pair, ONE, 1.0);
        key.set(half + pair, ONE, 1.0);
    }
    attend_to_start(2, 1, start, &mut query, &mut key);
    value.copy_code(0, 0, 1.0);
    value.copy_code(0, CODE, 1.0);
    let mut output = Matrix::new(DIM, HEADS * CODE);
    output.copy_code(0, CODE, 1.0);
    for head in 1..HEADS {
        output.copy_code(head * CODE, 2 * CODE, DISTRACTION);
    }
    insert(0, [query, key, value, output], tensors);
}

/// Layer 1, without rotation. Head 0 matches the current code with previous codes and shares its keys with head 1, which
/// attends to everything; heads 2 and 3 attend to the first token and to everything.
fn match_layer(start: &[f64], tensors: &mut HashMap<String, Vec<f32>>) {
    let mut query = Matrix::new(HEADS * CODE, DIM);
    let mut key = Matrix::new(KV_HEADS * CODE, DIM);
    let mut value = Matrix::new(KV_HEADS * CODE, DIM);
    query.copy_code(0, 0, MATCH_GAIN);
    key.copy_code(CODE, 0, 1.0);
    attend_to_start(2, 1, start, &mut query, &mut key);
    value.copy_code(0, 0, 1.0);
    value.copy_code(0, CODE, 1.0);
    let mut output = Matrix::new(DIM, HEADS * CODE);
    output.copy_code(0, 2 * CODE, 1.0);
    for head in 1..HEADS {
        output.copy_code(head * CODE, 2 * CODE, DISTRACTION);
    }
    insert(1, [query, key, value, output], tensors);
}

/// Makes query head `head` and key-value head `kv_head` meet at the first token: its code along the slowest channel,
/// which rotation hardly turns.
fn attend_to_start(head: usize, kv_head: usize, start: &[f64], query: &mut Matrix, key: &mut Matrix) {
    let slowest = CODE / 2 - 1;
    query.set(head * CODE + slowest, ONE, 1.0);
    for (channel, &x) in start.iter().enumerate() {
        key.set(kv_head * CODE + slowest, channel, PREVIOUS_GAP * x);
    }
}

fn insert(layer: usize, matrices: [Matrix; 4], tensors: &mut HashMap<String, Vec<f32>>) {
    for (part, matrix) in ["query", "key", "value", "output"].into_iter().zip(matrices) {
        tensors.insert(format!("{layer}.{part}.weight"), matrix.elements);
    }
}

/// Unit vectors, no two more alike than [`MOST_ALIKE`].
fn codes(seed: u64) -> Vec<Vec<f64>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut codes: Vec<Vec<f64>> = Vec::with_capacity(VOCABULARY);
    while codes.len() < VOCABULARY {
        // A sum of uniform draws is near enough to normal for a direction.
        let draw: Vec<f64> = (0..CODE).map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).sum()).collect();
        let norm = draw.iter().map(|x| x * x).sum::<f64>().sqrt();
        let code: Vec<f64> = draw.into_iter().map(|x: f64| x / norm).collect();
        let cosine = |other: &Vec<f64>| code.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        if codes.iter().all(|other| cosine(other).abs() < MOST_ALIKE) {
            codes.push(code);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probability(logits: &[f32], token: u32) -> f64 {
        let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
        f64::from(logits[token as usize] - most).exp() / sum
    }

    #[test]
    fn emits_what_followed_the_earlier_occurrence() {
        let device = Device::flex();
        let model = Induction::new(0).decoder(Weights::Stored, &device).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for trial in 0..20 {
            let (a, b) = (rng.random_range(1..128u32), rng.random_range(128..256u32));
            let filler = |rng: &mut rand_chacha::ChaCha8Rng| loop {
                let token = rng.random_range(Induction::TOKENS);
                if token != a && token != b {
                    break token;
                }
            };
            let mut ids = vec![Induction::START];
            ids.extend((0..300).map(|_| filler(&mut rng)));
            let at = 1 + rng.random_range(0..290);
            (ids[at], ids[at + 1]) = (a, b);
            ids.push(a);
            let logits = model.forward(&ids, &device).into_data().try_into_vec::<f32>().unwrap();
            let p = probability(&logits[(ids.len() - 1) * VOCABULARY..], b);
            assert!(p > 0.999, "trial {trial}: p = {p} with the pair at {at}");
        }
    }
}

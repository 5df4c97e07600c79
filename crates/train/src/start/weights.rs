//! Weights that are written into a model drawn at random.

use std::collections::HashMap;
use std::convert::Infallible;

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec};
use headwise_nn::Embedding;
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::mixer::Heads;
use headwise_nn::named::{self, Named};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::{Nope, PositionSpec};
use headwise_ops::host;

use crate::model::tracked;

/// Standard deviation of the token vectors: large enough that steps of the optimiser change them slowly.
pub(super) const EMBEDDING: f32 = 0.25;
/// What the last norm multiplies by, so that the first logits are small although token vectors are large.
const LAST_NORM: f32 = 0.25;

/// Whether token vectors stay as they are until attention adds to them: they are tied, as wide as the stream, nothing else is added, RMSNorm
/// stands first, and layers have weights of their own.
pub(super) fn plain_stream(spec: &DecoderSpec) -> bool {
    let normed = |block: &BlockSpec| block.norms == Norms::Pre && block.norm == NormSpec::Rms;
    let own = spec.shared_by == 1 && spec.embedding_dim.is_none();
    own && spec.tied && spec.embedding_scale.is_none() && spec.position.is_none() && spec.layers.iter().all(normed)
}

/// The heads of layer `layer` if it attends to tokens by what they are alone, among the last `window`.
pub(super) fn plain_heads(spec: &DecoderSpec, layer: usize, window: Option<usize>) -> Option<Heads> {
    let softmax = spec.layers.get(layer)?.mixer.softmax()?;
    let plain = !softmax.qk_norm && softmax.convolution.is_none() && softmax.scale.is_none();
    let seen = softmax.window == window && softmax.position == PositionSpec::from(Nope {});
    (plain && seen).then(|| softmax.sizes(spec.dim))
}

/// All weights by name; matrices are `[outputs, inputs]`.
pub(super) struct Weights(HashMap<String, Named>);

impl Weights {
    /// Those of `model`, of which layers add nothing and token vectors have their first `vector` channels only.
    pub fn silent(model: &Decoder, vector: usize) -> Self {
        let spec = model.spec();
        let mut weights = Self(named::read(model).into_iter().map(|weight| (weight.name.clone(), weight)).collect());
        for layer in 0..spec.layers.len() {
            for part in ["mixer.output", "channel.down"] {
                if let Some(weight) = weights.0.get_mut(&format!("blocks.{layer}.{part}.weight")) {
                    weight.values.fill(0.0);
                }
            }
        }
        for row in weights.of("embedding.weight").values.chunks_exact_mut(spec.dim) {
            row[..vector].iter_mut().for_each(|value| *value *= EMBEDDING / Embedding::DEVIATION);
            row[vector..].fill(0.0);
        }
        weights.of("norm.weight").values.fill(LAST_NORM);
        weights
    }

    pub fn of(&mut self, name: &str) -> &mut Named {
        self.0.get_mut(name).unwrap_or_else(|| panic!("the model has no {name}"))
    }

    /// Sets `size` rows from `row` on to `value` times the identity at `column`, and to zero elsewhere.
    pub fn set(&mut self, name: &str, row: usize, column: usize, size: usize, value: f32) {
        let weight = self.of(name);
        let inputs = weight.shape[1];
        weight.values[row * inputs..(row + size) * inputs].fill(0.0);
        self.add(name, row, column, size, value);
    }

    /// Adds `value` times the identity of `size` at `row` and `column`.
    pub fn add(&mut self, name: &str, row: usize, column: usize, size: usize, value: f32) {
        let weight = self.of(name);
        let inputs = weight.shape[1];
        for index in 0..size {
            weight.values[(row + index) * inputs + column + index] += value;
        }
    }

    /// Lets the first two layers, which see two tokens each, write down codes (the first channels of a token's vector): their first head adds
    /// `c[t] + c[t-1]` at `last_two`, then `c[t]/2 + c[t-1] + c[t-2]/2` at `last_three`. `norms` is what they divide by.
    pub fn write_down_last(&mut self, last_two: usize, last_three: usize, code: usize, norms: [f32; 2]) {
        // Both rows in sight weigh alike, so a head says their mean.
        for (layer, from, to, times) in [(0, 0, last_two, 2.0), (1, last_two, last_three, 1.0)] {
            let name = |part: &str| format!("blocks.{layer}.mixer.{part}.weight");
            self.of(&name("query")).values.fill(0.0);
            self.set(&name("value"), 0, from, code, norms[layer]);
            self.add(&name("output"), to, 0, code, times * EMBEDDING);
        }
    }

    /// Lets layer `layer` find the place after the last two tokens where they stood before, and copy the vector there, every key-value head
    /// other channels, `times` as strong.
    pub fn copy_what_followed(&mut self, layer: usize, heads: Heads, [last_two, last_three]: [usize; 2], of: Copying) {
        let (code, Copying { gain, norm, times }) = (heads.head_dim, of);
        let name = |part: &str| format!("blocks.{layer}.mixer.{part}.weight");
        // Keys are c[t-1] + c[t-2], queries c[t] + c[t-1].
        for kv_head in 0..heads.kv_heads {
            let (query, key) = (kv_head * heads.group() * code, kv_head * code);
            self.set(&name("query"), query, last_two, code, gain);
            self.set(&name("key"), key, last_two, code, -gain);
            self.add(&name("key"), key, last_three, code, 2.0 * gain);
            self.set(&name("value"), key, kv_head * code, code, norm);
            self.add(&name("output"), kv_head * code, query, code, times * EMBEDDING);
        }
    }

    /// `model` with these weights.
    pub fn fill(self, model: Decoder, device: &Device) -> Decoder {
        let filled = named::fill(model, &mut Filled { weights: self, device });
        tracked(filled.unwrap_or_else(|never: Infallible| match never {}))
    }
}

/// How a head copies.
#[derive(Clone, Copy)]
pub(super) struct Copying {
    /// What queries and keys are multiplied by; see [`gain`].
    pub gain: f32,
    /// What the norm before the layer divides by.
    pub norm: f32,
    /// How much what is copied counts.
    pub times: f32,
}

/// What queries and keys are multiplied by, so that one token of `code` channels that is alike scores `score`, behind a norm that divides by
/// `norm`.
pub(super) fn gain(score: f32, code: usize, norm: f32) -> f32 {
    (score / (code as f32).sqrt()).sqrt() * norm
}

struct Filled<'a> {
    weights: Weights,
    device: &'a Device,
}

impl named::Source for Filled<'_> {
    type Error = Infallible;

    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, Infallible> {
        Ok(host::tensor(self.weights.of(name).values.clone(), shape, self.device))
    }
}

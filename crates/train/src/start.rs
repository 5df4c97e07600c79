//! The weights that training starts from.

mod from_model;

use std::collections::HashMap;
use std::convert::Infallible;

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec};
use headwise_nn::Embedding;
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::named::{self, Named};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::{Nope, PositionSpec};
use headwise_ops::host;

use crate::model::tracked;

pub use from_model::FromModel;

headwise_spec::family! {
    /// The weights that training starts from.
    pub enum StartSpec: "start" {
        drawn => Drawn,
        induction_heads => InductionHeads,
        from_model => FromModel,
    }
}

headwise_spec::method! {
    /// Every weight is drawn at random.
    pub struct Drawn {}
}

headwise_spec::method! {
    /// A decoder that already copies: what followed the last two tokens before follows them again; all else is random or zero.
    ///
    /// The first two layers see two tokens each and write down which tokens came before, the third one finds where those came
    /// before. Small models learn this circuit late or never; from it they learn in minutes what to copy. The circuit is that of
    /// Olsson et al. 2022, arXiv:2209.11895; to start from weights that imitate trained ones is Trockman and Kolter 2023,
    /// arXiv:2305.09828.
    pub struct InductionHeads {
        /// Score of one token that is alike.
        pub gain: f32 = 12.0,
    }
}

impl Default for StartSpec {
    fn default() -> Self {
        Drawn {}.into()
    }
}

impl StartSpec {
    /// `model`, drawn at random, with the weights that training starts from.
    pub fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        match self {
            Self::Drawn(_) => Ok(model),
            Self::InductionHeads(start) => start.apply(model, device),
            Self::FromModel(start) => start.apply(model, device),
        }
    }

    /// The path of the files that it reads.
    pub fn path(&mut self) -> Option<&mut String> {
        match self {
            Self::FromModel(start) => Some(&mut start.path),
            Self::Drawn(_) | Self::InductionHeads(_) => None,
        }
    }
}

/// Standard deviation of the token vectors: large enough that steps of the optimiser change them slowly.
const EMBEDDING: f32 = 0.25;
/// What the last norm multiplies by, so that the first logits are small although token vectors are large.
const LAST_NORM: f32 = 0.25;
/// How much more the copied token counts than the one that is read.
const COPY: f32 = 4.0;

/// What a model must be.
const NEEDED: &str = "needs a decoder with tied token vectors of `dim` channels and RMSNorm before each part, whose layers have weights \
                      of their own and are first twice softmax(window=2, position=nope) and once softmax(position=nope), with heads of \
                      one width";

impl InductionHeads {
    /// Channels of a head; an error if the circuit does not fit the model.
    fn head_dim(spec: &DecoderSpec) -> Result<usize, String> {
        let heads = |(layer, window)| {
            let block: &BlockSpec = spec.layers.get(layer)?;
            let softmax = block.mixer.softmax()?;
            let plain = !softmax.qk_norm && softmax.convolution.is_none() && softmax.scale.is_none();
            let seen = softmax.window == window && softmax.position == PositionSpec::from(Nope {});
            (plain && seen).then(|| softmax.sizes(spec.dim))
        };
        let [first, second, third] = [(0, Some(2)), (1, Some(2)), (2, None)].map(heads);
        let normed = |block: &BlockSpec| block.norms == Norms::Pre && block.norm == NormSpec::Rms;
        let own = spec.shared_by == 1 && spec.embedding_dim.is_none();
        let fits = own
            && spec.tied
            && spec.embedding_scale.is_none()
            && spec.position.is_none()
            && spec.layers.iter().all(normed);
        let (Some(first), Some(second), Some(third), true) = (first, second, third, fits) else {
            return Err(format!("induction_heads {NEEDED}"));
        };
        let (code, needed) = (third.head_dim, (2 + third.kv_heads) * third.head_dim);
        match (first.head_dim, second.head_dim) == (code, code) && spec.dim >= needed {
            true => Ok(code),
            false => {
                Err(format!("induction_heads {NEEDED}, and here with at least {needed} channels: it has {}", spec.dim))
            }
        }
    }

    fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        let spec = model.spec().clone();
        let code = Self::head_dim(&spec)?;
        let mut weights =
            Weights(named::read(&model).into_iter().map(|weight| (weight.name.clone(), weight)).collect());
        self.write(&mut weights, &spec, code);
        let mut source = Filled { weights, device };
        let filled = named::fill(model, &mut source).unwrap_or_else(|never: Infallible| match never {});
        Ok(tracked(filled))
    }

    /// The residual stream is `[token vector | last two tokens | last three tokens]`. A token's code is the first channels of its
    /// vector, as many as a head has.
    fn write(&self, weights: &mut Weights, spec: &DecoderSpec, code: usize) {
        let (dim, vector) = (spec.dim, spec.dim - 2 * code);
        let (last_two, last_three) = (vector, vector + code);
        for layer in 0..spec.layers.len() {
            for part in ["mixer.output", "channel.down"] {
                if let Some(weight) = weights.0.get_mut(&format!("blocks.{layer}.{part}.weight")) {
                    weight.values.fill(0.0);
                }
            }
        }
        for row in weights.of("embedding.weight").values.chunks_exact_mut(dim) {
            row[..vector].iter_mut().for_each(|value| *value *= EMBEDDING / Embedding::DEVIATION);
            row[vector..].fill(0.0);
        }
        weights.of("norm.weight").values.fill(LAST_NORM);

        // What a norm divides by before each layer, in units of `EMBEDDING`: codes add up like independent numbers.
        let root = |last_two: f32, last_three: f32| {
            ((vector as f32 + code as f32 * (last_two + last_three)) / dim as f32).sqrt()
        };
        let norms = [root(0.0, 0.0), root(2.0, 0.0), root(2.0, 1.5)];

        // Both rows in sight weigh alike, so a head says their mean: c[t] + c[t-1] after the first layer,
        // c[t]/2 + c[t-1] + c[t-2]/2 after the second.
        for (layer, from, to, times) in [(0, 0, last_two, 2.0), (1, last_two, last_three, 1.0)] {
            let name = |part: &str| format!("blocks.{layer}.mixer.{part}.weight");
            weights.of(&name("query")).values.fill(0.0);
            weights.set(&name("value"), 0, from, code, norms[layer]);
            weights.add(&name("output"), to, 0, code, times * EMBEDDING);
        }

        // Keys are c[t-1] + c[t-2], queries c[t] + c[t-1].
        let heads = spec.layers[2].mixer.softmax().map(|softmax| softmax.sizes(dim)).unwrap_or_default();
        let gain = (self.gain / (code as f32).sqrt()).sqrt() * norms[2];
        let name = |part: &str| format!("blocks.2.mixer.{part}.weight");
        for kv_head in 0..heads.kv_heads {
            let (query, key) = (kv_head * heads.group() * code, kv_head * code);
            weights.set(&name("query"), query, last_two, code, gain);
            weights.set(&name("key"), key, last_two, code, -gain);
            weights.add(&name("key"), key, last_three, code, 2.0 * gain);
            // Every head copies other channels of the token vector.
            weights.set(&name("value"), key, kv_head * code, code, norms[2]);
            weights.add(&name("output"), kv_head * code, query, code, COPY * EMBEDDING);
        }
    }
}

/// All weights by name; matrices are `[outputs, inputs]`.
struct Weights(HashMap<String, Named>);

impl Weights {
    fn of(&mut self, name: &str) -> &mut Named {
        self.0.get_mut(name).unwrap_or_else(|| panic!("the model has no {name}"))
    }

    /// Sets `size` rows from `row` on to `value` times the identity at `column`, and to zero elsewhere.
    fn set(&mut self, name: &str, row: usize, column: usize, size: usize, value: f32) {
        let weight = self.of(name);
        let inputs = weight.shape[1];
        weight.values[row * inputs..(row + size) * inputs].fill(0.0);
        self.add(name, row, column, size, value);
    }

    /// Adds `value` times the identity of `size` at `row` and `column`.
    fn add(&mut self, name: &str, row: usize, column: usize, size: usize, value: f32) {
        let weight = self.of(name);
        let inputs = weight.shape[1];
        for index in 0..size {
            weight.values[(row + index) * inputs + column + index] += value;
        }
    }
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

#[cfg(test)]
mod tests {
    use headwise_nn::mixer::Segment;
    use headwise_ops::host::{Host, contiguous};

    use super::*;
    use crate::model::draw;

    const LAYERS: &str = r#"
        vocabulary = 200
        dim = 192
        context = 64
        epsilon = 1e-6
        tied = true
        final_norm = true
        layers = [
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
        ]
    "#;

    fn started(text: &str) -> Result<Decoder, String> {
        let device = Device::flex().autodiff();
        let model = draw(toml::from_str(text).unwrap(), 3, &device).unwrap();
        StartSpec::from(InductionHeads::default()).apply(model, &device)
    }

    /// The token that the model finds most likely after `ids`.
    fn next(model: &Decoder, ids: &[u32]) -> u32 {
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        let hidden = model.hidden(ids, &positions, &segments, &Device::flex().autodiff());
        let scores = Host::new(contiguous(hidden.matmul(model.classifier().transpose()).inner())).as_slice().to_vec();
        let last = &scores[scores.len() - model.spec().vocabulary..];
        (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as u32
    }

    #[test]
    fn what_followed_two_tokens_follows_them_again() {
        let model = started(LAYERS).unwrap();
        let text: Vec<u32> = (0..50).map(|i| i * 37 % 200).collect();
        let right = (3..48).filter(|&at| next(&model, &[&text[..], &text[at..at + 2]].concat()) == text[at + 2]);
        let right = right.count();
        assert!(right >= 40, "{right} of 45");
    }

    #[test]
    fn models_that_the_circuit_does_not_fit_are_refused() {
        for (from, to) in [("tied = true", "tied = false"), ("window=2", "window=4"), ("kv_heads=2", "kv_heads=6")] {
            let error = started(&LAYERS.replace(from, to)).unwrap_err();
            assert!(error.contains("softmax(window=2, position=nope)"), "{error}");
        }
    }
}

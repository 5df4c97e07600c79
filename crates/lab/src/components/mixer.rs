//! Token mixers with their projections: family `mixer`.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use headwise_nn::Linear;
use headwise_nn::mixer::{HeadNorms, MixContext, Segment, Softmax, SoftmaxSpec};
use headwise_nn::norm::RmsNorm;
use headwise_nn::position::RopeSpec;

use super::ComponentError;
use super::arrays::{Flat, Tensors};
use super::interface::{Interface, Length, TensorSpec};

headwise_spec::method! {
    /// Causal softmax attention with projections: multi-head, grouped-query and multi-query.
    ///
    /// Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245.
    pub struct SoftmaxMixer {
        /// Query heads.
        pub heads: usize = 4,
        /// Key-value heads; none is as many as query heads.
        pub kv_heads: Option<usize> = None,
        /// Channels of a head; none is `dim / heads`.
        pub head_dim: Option<usize> = None,
        /// Query `i` sees keys `j` with `0 ≤ i − j < window`.
        pub window: Option<usize> = None,
        /// Queries and keys are rotated by their positions.
        pub rope: bool = true,
        /// Base of the angles.
        pub theta: f64 = 10000.0,
        /// Query, key and value projections have a bias.
        pub bias: bool = false,
        /// RMSNorm of every query and key head before rotation.
        pub qk_norm: bool = false,
        /// Added to the mean square in these norms.
        pub epsilon: f64 = 1e-6,
        /// Factor of the scores; none is `1 / √head_dim`.
        pub scale: Option<f32> = None,
        /// Scores become `softcap · tanh(score / softcap)`.
        pub softcap: Option<f32> = None,
    }
}

headwise_spec::family! {
    /// A layer that moves information between tokens.
    pub enum Mixer: "mixer" {
        softmax => SoftmaxMixer,
    }
}

impl Mixer {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), ComponentError> {
        let Self::SoftmaxMixer(softmax) = self;
        softmax.check().map_err(|text| ComponentError::Parameter(format!("`softmax`: {text}")))
    }

    /// What it takes and gives.
    pub(super) fn interface(&self) -> Interface {
        let Self::SoftmaxMixer(softmax) = self;
        softmax.interface()
    }

    /// Computes the outputs.
    pub(super) fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        let Self::SoftmaxMixer(softmax) = self;
        softmax.run(tensors)
    }
}

impl SoftmaxMixer {
    fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    fn check(&self) -> Result<(), String> {
        let (heads, kv_heads) = (self.heads, self.kv_heads());
        match () {
            () if heads == 0 => Err("heads=0: it must be at least 1".into()),
            () if kv_heads == 0 || heads % kv_heads != 0 => {
                Err(format!("kv_heads={kv_heads} must be at least 1 and divide heads={heads}"))
            }
            () if self.head_dim == Some(0) => Err("head_dim=0: it must be at least 1".into()),
            () if self.head_dim.is_some_and(|width| width.checked_mul(heads).is_none()) => {
                Err(format!("heads={heads} of this head_dim are too many"))
            }
            () if self.rope && self.head_dim.is_some_and(|width| width % 2 == 1) => {
                Err("head_dim must be even for rope=true: channels turn in pairs".into())
            }
            () if self.window == Some(0) => Err("window=0 hides every key: it must be at least 1".into()),
            () if self.theta <= 0.0 => Err(format!("theta={}: it must be above 0", self.theta)),
            () if self.epsilon < 0.0 => Err(format!("epsilon={}: it must not be negative", self.epsilon)),
            () if self.softcap.is_some_and(|cap| cap <= 0.0) => Err("softcap must be above 0".into()),
            () => Ok(()),
        }
    }

    /// The width of `times` heads.
    fn width(&self, times: usize) -> Length {
        match self.head_dim {
            Some(head_dim) => Length::Known(times * head_dim),
            None if times == self.heads => Length::Symbol("dim"),
            // `run` checks that all heads divide `dim`.
            None if self.heads.is_multiple_of(times) => {
                Length::Share { symbol: "dim", times: 1, parts: self.heads / times }
            }
            None => Length::Share { symbol: "dim", times, parts: self.heads },
        }
    }

    fn interface(&self) -> Interface {
        let dim = Length::Symbol("dim");
        let (queries, keys, head) = (self.width(self.heads), self.width(self.kv_heads()), self.width(1));
        let mut parameters = vec![
            TensorSpec::float("query.weight", [queries, dim]),
            TensorSpec::float("key.weight", [keys, dim]),
            TensorSpec::float("value.weight", [keys, dim]),
            TensorSpec::float("output.weight", [dim, queries]),
        ];
        if self.bias {
            let biases = [("query.bias", queries), ("key.bias", keys), ("value.bias", keys)];
            parameters.extend(biases.map(|(name, width)| TensorSpec::float(name, [width])));
        }
        if self.qk_norm {
            parameters.extend(["query_norm.weight", "key_norm.weight"].map(|name| TensorSpec::float(name, [head])));
        }
        let tokens = |name| TensorSpec::symbolic(name, ["batch", "tokens", "dim"]);
        Interface { inputs: vec![tokens("x")], parameters, outputs: vec![tokens("output")] }
    }

    fn spec(&self, dim: usize) -> Result<SoftmaxSpec, ComponentError> {
        let head_dim = self.head_dim.unwrap_or(dim / self.heads);
        let whole = self.head_dim.is_some() || dim.is_multiple_of(self.heads);
        if !whole || (self.rope && head_dim % 2 == 1) {
            let even = if self.rope { " of an even number of channels" } else { "" };
            let text = format!("dim = {dim} of `x` does not divide into {} heads{even}; give head_dim", self.heads);
            return Err(ComponentError::Lengths(text));
        }
        Ok(SoftmaxSpec {
            heads: self.heads,
            kv_heads: self.kv_heads(),
            head_dim,
            rope: self.rope.then(|| RopeSpec::new(self.theta)),
            window: self.window,
            causal: true,
            bias: self.bias,
            qk_norm: self.qk_norm,
            scale: self.scale,
            softcap: self.softcap,
        })
    }

    fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        let x: Tensor<3> = tensors.float("x");
        let [_, tokens, dim] = x.dims();
        let projections = ["query", "key", "value", "output"].map(|name| linear(tensors, name));
        let norm = |name: &str| RmsNorm { weight: parameter(tensors.float(name)), epsilon: self.epsilon };
        let norms = self.qk_norm.then(|| HeadNorms { query: norm("query_norm.weight"), key: norm("key_norm.weight") });
        let positions: Vec<i32> = (0..tokens as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..tokens }];
        let mut context = MixContext { positions: &positions, segments: &segments, layer: 0, cache: None };
        let mixed = Softmax::new(self.spec(dim)?, projections, norms).forward(x, &mut context);
        Ok(vec![("output", Flat::new(mixed))])
    }
}

/// The projection called `name`; files hold its weight as `[outputs, inputs]`, the layer `[inputs, outputs]`.
fn linear(tensors: &Tensors, name: &str) -> Linear {
    let weight: Tensor<2> = tensors.float(&format!("{name}.weight"));
    let bias: Option<Tensor<1>> = tensors.find(&format!("{name}.bias"));
    Linear::Float(burn::nn::Linear { weight: parameter(weight.transpose()), bias: bias.map(parameter) })
}

/// `value` as a parameter that leaves the way of gradients to the tensor it was made of.
fn parameter<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), value)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::Mixer>();
    }
}

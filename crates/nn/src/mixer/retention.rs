//! Retention (RetNet): attention with a fixed exponential decay for each head instead of softmax.
//!
//! `o_t = S_tᵀ q_t`, `S_t = γ_h S_{t-1} + k_t v_tᵀ`, `γ_h = 1 - 2^{-5-h}`, queries and keys rotated by their positions, keys
//! scaled by `1/√key_head_dim`; then `y = W_o (silu(W_g x) ⊙ norm_h(o))`. Linear in tokens, constant state.
//! Sun et al. 2023, arXiv:2307.08621.

use burn::module::Module;
use burn::nn::{Initializer, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use headwise_kernels::rope::Rope;
use headwise_ops::{Decay, Recurrence};
use serde::{Deserialize, Serialize};

use super::heads::{check_heads, join_heads, split_heads};
use super::past::Past;
use super::short_convolution::{ShortConvolution, check_width};
use super::{MixContext, MixerState};
use crate::Linear;
use crate::norm::RmsNorm;
use crate::position::RopeSpec;

/// How retained values are normalised before the norm of each head, which makes both nearly the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionNorm {
    /// By `1/√key_head_dim` alone.
    #[default]
    Scale,
    /// As published, for half precision: each row of weights also by `1/√Σ_j γ^{t-j}` and then by `1/max(|its sum|, 1)`.
    Full,
}

headwise_spec::method! {
    /// Retention with projections, a norm for each head and a gate.
    ///
    /// Sun et al. 2023, arXiv:2307.08621.
    pub struct RetentionSpec {
        /// Heads.
        pub heads: usize = 4,
        /// Channels of all queries, and of all keys; none is `dim`.
        pub key_dim: Option<usize> = None,
        /// Channels of all values; none is `2 · dim`.
        pub value_dim: Option<usize> = None,
        /// Queries and keys are rotated by their positions.
        pub rope: bool = true,
        /// Base of the angles.
        pub theta: f64 = 10000.0,
        /// How weights are normalised: `scale`, or `full` for half precision.
        pub norm: RetentionNorm = RetentionNorm::Scale,
        /// Added to the mean square in the norm of each head.
        pub epsilon: f64 = 1e-6,
        /// Width of a causal depthwise convolution of queries, keys and values, followed by SiLU; none has none.
        pub convolution: Option<usize> = None,
    }
}

impl RetentionSpec {
    /// Channels of all keys and of all values.
    fn widths(&self, dim: usize) -> (usize, usize) {
        (self.key_dim.unwrap_or(dim), self.value_dim.unwrap_or(2 * dim))
    }

    /// What is kept of a text, before its first token.
    pub(super) fn state(&self, dim: usize) -> MixerState {
        let (keys, values) = self.widths(dim);
        let ones = usize::from(self.norm == RetentionNorm::Full);
        MixerState::new(keys * (values / self.heads + ones), self.convolution, [keys, keys, values])
    }

    /// Whether a mixer of `dim` channels can be built.
    pub fn check(&self, dim: usize) -> Result<(), String> {
        let (keys, values) = self.widths(dim);
        check_heads("key_dim", keys, self.heads)?;
        check_heads("value_dim", values, self.heads)?;
        check_width(self.convolution)?;
        match () {
            () if self.rope && (keys / self.heads) % 2 == 1 => {
                let heads = self.heads;
                Err(format!("key_dim={keys} in {heads} heads is odd: channels turn in pairs, or give rope=false"))
            }
            () if self.theta <= 0.0 => Err(format!("theta={}: it must be above 0", self.theta)),
            () if self.epsilon < 0.0 => Err(format!("epsilon={}: it must not be negative", self.epsilon)),
            () => Ok(()),
        }
    }

    /// `γ_h` of head `head`, the farther-seeing the higher.
    fn gamma(head: usize) -> f64 {
        1.0 - (-5.0 - head as f64).exp2()
    }
}

/// Retention with projections, a norm for each head and a gate.
#[derive(Module, Debug)]
pub struct Retention {
    /// `dim` to `key_dim`.
    pub query: Linear,
    /// `dim` to `key_dim`.
    pub key: Linear,
    /// `dim` to `value_dim`.
    pub value: Linear,
    /// `dim` to `value_dim`.
    pub gate: Linear,
    /// `value_dim` to `dim`.
    pub output: Linear,
    /// Norm of every head of the values.
    pub norm: RmsNorm,
    /// Convolution of queries, keys and values, where there is one.
    pub convolution: Option<ShortConvolution>,
    #[module(skip)]
    spec: RetentionSpec,
    #[module(skip)]
    rope: Option<Rope>,
    dim: usize,
    /// `ln γ_h`
    #[module(skip)]
    decays: Vec<f32>,
}

impl Retention {
    /// A mixer of `dim` channels from its projections `query, key, value, gate, output`.
    pub fn new(spec: RetentionSpec, dim: usize, projections: [Linear; 5], norm: RmsNorm) -> Self {
        let [query, key, value, gate, output] = projections;
        let rope = spec.rope.then(|| RopeSpec::new(spec.theta).build(spec.widths(dim).0 / spec.heads));
        let decays = (0..spec.heads).map(|head| RetentionSpec::gamma(head).ln() as f32).collect();
        Self { query, key, value, gate, output, norm, convolution: None, rope, dim, decays, spec }
    }

    /// Trainable weights at random, as published, for a spec that passes [`RetentionSpec::check`].
    pub fn random(spec: RetentionSpec, dim: usize, device: &Device) -> Self {
        let (keys, values) = spec.widths(dim);
        let linear = |inputs, outputs, gain: f64| {
            let initializer = Initializer::XavierUniform { gain };
            Linear::Float(
                LinearConfig::new(inputs, outputs).with_bias(false).with_initializer(initializer).init(device),
            )
        };
        let inner = (-2.5f64).exp2();
        let [query, key, value, gate] = [keys, keys, values, values].map(|outputs| linear(dim, outputs, inner));
        let norm = RmsNorm::new(values / spec.heads, spec.epsilon, device);
        let convolution = spec.convolution.map(|width| ShortConvolution::random(width, [keys, keys, values], device));
        let projections = [query, key, value, gate, linear(values, dim, 0.5)];
        Self { convolution, ..Self::new(spec, dim, projections, norm) }
    }

    /// How the mixer was built.
    pub fn spec(&self) -> &RetentionSpec {
        &self.spec
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape. Every segment goes on from its state, if the cache has states, or from
    /// nothing.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let (positions, tokens) = (ctx.positions, x.dims()[1]);
        let mut past = Past::of(ctx, tokens);
        let ([query, key, value], gate) = self.project(x, positions, &mut past);
        let decays = TensorData::new(self.decays.clone(), [self.spec.heads]);
        let decay = Decay::Head(Tensor::from_data(decays, (&query.device(), query.dtype())));
        let mixed = past.recur([query, key, self.with_ones(value)], decay, &self.recurrence());
        self.finish(self.normalise(mixed, &past.tokens_before(positions)), gate)
    }

    fn recurrence(&self) -> Recurrence {
        let head_dim = self.spec.widths(self.dim).0 / self.spec.heads;
        Recurrence { scale: 1.0 / (head_dim as f32).sqrt(), normalise: false }
    }

    /// Rotated queries and keys, and values, `[batch, heads, tokens, width]`, and the gate `[batch, tokens, value_dim]`.
    fn project(&self, x: Tensor<3>, positions: &[i32], past: &mut Past<'_>) -> ([Tensor<4>; 3], Tensor<3>) {
        let layers = [&self.query, &self.key, &self.value, &self.gate];
        let [query, key, value, gate] = Linear::forward_each(layers, x);
        let projected = past.convolve(self.convolution.as_ref(), [query, key, value]);
        let [query, key, value] = projected.map(|x| split_heads(x, self.spec.heads));
        ([self.rotate(query, positions), self.rotate(key, positions), value], gate)
    }

    fn rotate(&self, x: Tensor<4>, positions: &[i32]) -> Tensor<4> {
        match &self.rope {
            Some(rope) => headwise_ops::rope(x, positions, rope),
            None => x,
        }
    }

    /// The values with a column of ones, whose outputs are the sums of the weights, if these are wanted.
    fn with_ones(&self, value: Tensor<4>) -> Tensor<4> {
        match self.spec.norm {
            RetentionNorm::Scale => value,
            RetentionNorm::Full => {
                let [batch, heads, tokens, _] = value.dims();
                let ones = Tensor::ones([batch, heads, tokens, 1], (&value.device(), value.dtype()));
                Tensor::cat(vec![value, ones], 3)
            }
        }
    }

    /// The published normalisation of rows `[batch, heads, tokens, value_head_dim + 1]` at positions of their sequences.
    fn normalise(&self, mixed: Tensor<4>, positions: &[usize]) -> Tensor<4> {
        if self.spec.norm == RetentionNorm::Scale {
            return mixed;
        }
        // Σ_j γ^{t-j} over the t + 1 tokens so far.
        let factor = |head: usize, position: usize| {
            let gamma = RetentionSpec::gamma(head);
            let sum = (1.0 - gamma.powf(position as f64 + 1.0)) / (1.0 - gamma);
            (1.0 / sum.sqrt()) as f32
        };
        let heads = self.spec.heads;
        let factors: Vec<f32> = (0..heads).flat_map(|head| positions.iter().map(move |&p| factor(head, p))).collect();
        let factors = TensorData::new(factors, [1, heads, positions.len(), 1]);
        let rows = mixed.clone() * Tensor::<4>::from_data(factors, (&mixed.device(), mixed.dtype()));
        let width = rows.dims()[3] - 1;
        let sums = rows.clone().narrow(3, width, 1).abs().clamp_min(1.0);
        rows.narrow(3, 0, width) / sums
    }

    /// Norm, gate and projection: `[batch, heads, tokens, value_head_dim]` to `[batch, tokens, dim]`.
    fn finish(&self, mixed: Tensor<4>, gate: Tensor<3>) -> Tensor<3> {
        let mixed = join_heads(self.norm.forward(mixed.swap_dims(1, 2)).swap_dims(1, 2));
        self.output.forward(headwise_ops::swiglu(gate, mixed))
    }
}

//! Gated linear attention: a memory that forgets each channel of the keys at a rate made of the token.
//!
//! `o_t = S_tᵀ q_t / √key_head_dim`, `S_t = diag(a_t) S_{t-1} + k_t v_tᵀ`, `ln a_t = logsigmoid(W_2 W_1 x_t + b) / 16`; then
//! `y = W_o (silu(W_g x) ⊙ norm_h(o))`. Linear in tokens, constant state. Yang et al. 2024, arXiv:2312.06635.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use headwise_ops::{Decay, Recurrence};

use super::heads::{check_heads, join_heads, split_heads};
use super::past::Past;
use super::short_convolution::{ShortConvolution, check_width};
use super::{MixContext, MixerState};
use crate::Linear;
use crate::norm::RmsNorm;

headwise_spec::method! {
    /// Gated linear attention with projections, a norm for each head and a gate.
    ///
    /// Yang et al. 2024, arXiv:2312.06635.
    pub struct GlaSpec {
        /// Heads.
        pub heads: usize = 4,
        /// Channels of all queries, and of all keys; none is `dim / 2`.
        pub key_dim: Option<usize> = None,
        /// Channels of all values; none is `dim`.
        pub value_dim: Option<usize> = None,
        /// Width of the bottleneck through which decays are made.
        pub decay_rank: usize = 16,
        /// Log-decays are divided by it, so that a new mixer forgets slowly.
        pub decay_temperature: f32 = 16.0,
        /// Added to the mean square in the norm of each head.
        pub epsilon: f64 = 1e-6,
        /// Width of a causal depthwise convolution of queries, keys and values, followed by SiLU; none has none.
        pub convolution: Option<usize> = None,
    }
}

impl GlaSpec {
    /// Channels of all keys and of all values.
    fn widths(&self, dim: usize) -> (usize, usize) {
        (self.key_dim.unwrap_or(dim / 2), self.value_dim.unwrap_or(dim))
    }

    /// What is kept of a text, before its first token.
    pub(super) fn state(&self, dim: usize) -> MixerState {
        let (keys, values) = self.widths(dim);
        MixerState::new(keys * (values / self.heads), self.convolution, [keys, keys, values])
    }

    /// Whether a mixer of `dim` channels can be built.
    pub fn check(&self, dim: usize) -> Result<(), String> {
        let (keys, values) = self.widths(dim);
        check_heads("key_dim", keys, self.heads)?;
        check_heads("value_dim", values, self.heads)?;
        check_width(self.convolution)?;
        match () {
            () if self.decay_rank == 0 => Err("decay_rank=0: it must be at least 1".into()),
            () if self.decay_temperature <= 0.0 => {
                Err(format!("decay_temperature={}: it must be above 0", self.decay_temperature))
            }
            () if self.epsilon < 0.0 => Err(format!("epsilon={}: it must not be negative", self.epsilon)),
            () => Ok(()),
        }
    }
}

/// Gated linear attention with projections, a norm for each head and a gate.
#[derive(Module, Debug)]
pub struct Gla {
    /// `dim` to `key_dim`.
    pub query: Linear,
    /// `dim` to `key_dim`.
    pub key: Linear,
    /// `dim` to `value_dim`.
    pub value: Linear,
    /// `dim` to `value_dim`.
    pub gate: Linear,
    /// `dim` to `decay_rank`.
    pub decay_down: Linear,
    /// `decay_rank` to `key_dim`, with a bias.
    pub decay_up: Linear,
    /// `value_dim` to `dim`.
    pub output: Linear,
    /// Norm of every head of the values.
    pub norm: RmsNorm,
    /// Convolution of queries, keys and values, where there is one.
    pub convolution: Option<ShortConvolution>,
    #[module(skip)]
    spec: GlaSpec,
    dim: usize,
}

impl Gla {
    /// A mixer of `dim` channels from its projections `query, key, value, gate, decay_down, decay_up, output`.
    pub fn new(spec: GlaSpec, dim: usize, projections: [Linear; 7], norm: RmsNorm) -> Self {
        let [query, key, value, gate, decay_down, decay_up, output] = projections;
        Self { query, key, value, gate, decay_down, decay_up, output, norm, convolution: None, spec, dim }
    }

    /// Trainable weights at random, for a spec that passes [`GlaSpec::check`].
    pub fn random(spec: GlaSpec, dim: usize, device: &Device) -> Self {
        let ((keys, values), rank) = (spec.widths(dim), spec.decay_rank);
        let linear = |inputs, outputs| Linear::random(inputs, outputs, false, device);
        let projections = [
            linear(dim, keys),
            linear(dim, keys),
            linear(dim, values),
            linear(dim, values),
            linear(dim, rank),
            Linear::random(rank, keys, true, device),
            linear(values, dim),
        ];
        let norm = RmsNorm::new(values / spec.heads, spec.epsilon, device);
        let convolution = spec.convolution.map(|width| ShortConvolution::random(width, [keys, keys, values], device));
        Self { convolution, ..Self::new(spec, dim, projections, norm) }
    }

    /// How the mixer was built.
    pub fn spec(&self) -> &GlaSpec {
        &self.spec
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape. Every segment goes on from its state, if the cache has states, or from
    /// nothing.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let mut past = Past::of(ctx, x.dims()[1]);
        let ([query, key, value, decay], gate) = self.project(x, &mut past);
        self.finish(past.recur([query, key, value], Decay::Channel(decay), &self.recurrence()), gate)
    }

    fn recurrence(&self) -> Recurrence {
        let head_dim = self.spec.widths(self.dim).0 / self.spec.heads;
        Recurrence { scale: 1.0 / (head_dim as f32).sqrt(), normalise: false }
    }

    /// Queries, keys, values and log-decays `[batch, heads, tokens, width]`, and the gate `[batch, tokens, value_dim]`.
    fn project(&self, x: Tensor<3>, past: &mut Past<'_>) -> ([Tensor<4>; 4], Tensor<3>) {
        let layers = [&self.query, &self.key, &self.value, &self.gate, &self.decay_down];
        let [query, key, value, gate, decay] = Linear::forward_each(layers, x);
        let [query, key, value] = past.convolve(self.convolution.as_ref(), [query, key, value]);
        let decay = activation::log_sigmoid(self.decay_up.forward(decay)) / self.spec.decay_temperature;
        ([query, key, value, decay].map(|x| split_heads(x, self.spec.heads)), gate)
    }

    /// Norm, gate and projection: `[batch, heads, tokens, value_head_dim]` to `[batch, tokens, dim]`.
    fn finish(&self, mixed: Tensor<4>, gate: Tensor<3>) -> Tensor<3> {
        let mixed = join_heads(self.norm.forward(mixed.swap_dims(1, 2)).swap_dims(1, 2));
        self.output.forward(headwise_ops::swiglu(gate, mixed))
    }
}

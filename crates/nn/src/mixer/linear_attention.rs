//! Linear attention: softmax replaced by a product of features, so that the past is one matrix for each head.
//!
//! `o_t = S_tᵀ φ(q_t) / (φ(q_t) · z_t)`, `S_t = S_{t-1} + φ(k_t) v_tᵀ`, `z_t = z_{t-1} + φ(k_t)`; linear in tokens, constant
//! state. Katharopoulos et al. 2020, arXiv:2006.16236.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use headwise_ops::{Decay, Recurrence};
use serde::{Deserialize, Serialize};

use super::heads::{check_heads, join_heads, split_heads};
use super::past::Past;
use super::short_convolution::{ShortConvolution, check_width};
use super::{MixContext, MixerState};
use crate::Linear;
use crate::norm::RmsNorm;

/// The map `φ` from queries and keys to features, channel by channel unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureMap {
    /// `elu(x) + 1`, which is positive.
    #[default]
    Elu,
    /// `max(x, 0)`
    Relu,
    /// `x · sigmoid(x)`; not for normalised outputs, whose divisor could vanish.
    Silu,
    /// Softmax over the channels of a head.
    Softmax,
    /// `x`; not for normalised outputs, whose divisor could vanish.
    Identity,
}

impl FeatureMap {
    /// The features of `x` `[.., head_dim]`.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            // elu(x) + 1 is e^x up to 0 and x + 1 above.
            Self::Elu => x.clone().clamp_max(0.0).exp() + x.clamp_min(0.0),
            Self::Relu => activation::relu(x),
            Self::Silu => headwise_ops::silu(x),
            Self::Softmax => headwise_ops::softmax(x),
            Self::Identity => x,
        }
    }

    /// Whether features may be negative.
    fn signed(self) -> bool {
        matches!(self, Self::Silu | Self::Identity)
    }
}

headwise_spec::method! {
    /// Linear attention with projections.
    ///
    /// Katharopoulos et al. 2020, arXiv:2006.16236.
    pub struct LinearAttentionSpec {
        /// Heads.
        pub heads: usize = 4,
        /// Channels of all queries, and of all keys; none is `dim`.
        pub key_dim: Option<usize> = None,
        /// Channels of all values; none is `dim`.
        pub value_dim: Option<usize> = None,
        /// The map from queries and keys to features: `elu`, `relu`, `silu`, `softmax` or `identity`.
        pub feature_map: FeatureMap = FeatureMap::Elu,
        /// Outputs are divided by the sum of the weights.
        pub normalise: bool = true,
        /// RMSNorm of every head of the output.
        pub output_norm: bool = false,
        /// Added to the mean square in this norm.
        pub epsilon: f64 = 1e-6,
        /// Width of a causal depthwise convolution of queries, keys and values, followed by SiLU; none has none.
        pub convolution: Option<usize> = None,
    }
}

impl LinearAttentionSpec {
    /// Channels of all keys and of all values.
    fn widths(&self, dim: usize) -> (usize, usize) {
        (self.key_dim.unwrap_or(dim), self.value_dim.unwrap_or(dim))
    }

    /// What is kept of a text, before its first token.
    pub(super) fn state(&self, dim: usize) -> MixerState {
        let (keys, values) = self.widths(dim);
        let columns = values / self.heads + usize::from(self.normalise);
        MixerState::new(keys * columns, self.convolution, [keys, keys, values])
    }

    /// Whether a mixer of `dim` channels can be built.
    pub fn check(&self, dim: usize) -> Result<(), String> {
        let (keys, values) = self.widths(dim);
        check_heads("key_dim", keys, self.heads)?;
        check_heads("value_dim", values, self.heads)?;
        check_width(self.convolution)?;
        if self.normalise && self.feature_map.signed() {
            return Err("normalise=true needs features that are not negative: feature_map=elu, relu or softmax".into());
        }
        if self.epsilon < 0.0 {
            return Err(format!("epsilon={}: it must not be negative", self.epsilon));
        }
        Ok(())
    }

    fn recurrence(&self) -> Recurrence {
        Recurrence { scale: 1.0, normalise: self.normalise }
    }
}

/// Linear attention with projections.
#[derive(Module, Debug)]
pub struct LinearAttention {
    /// `dim` to `key_dim`.
    pub query: Linear,
    /// `dim` to `key_dim`.
    pub key: Linear,
    /// `dim` to `value_dim`.
    pub value: Linear,
    /// `value_dim` to `dim`.
    pub output: Linear,
    /// Norm of every head of the output, where there is one.
    pub norm: Option<RmsNorm>,
    /// Convolution of queries, keys and values, where there is one.
    pub convolution: Option<ShortConvolution>,
    #[module(skip)]
    spec: LinearAttentionSpec,
}

impl LinearAttention {
    /// A mixer from its projections `query, key, value, output`.
    pub fn new(spec: LinearAttentionSpec, projections: [Linear; 4], norm: Option<RmsNorm>) -> Self {
        let [query, key, value, output] = projections;
        Self { query, key, value, output, norm, convolution: None, spec }
    }

    /// Trainable weights at random, for a spec that passes [`LinearAttentionSpec::check`].
    pub fn random(spec: LinearAttentionSpec, dim: usize, device: &Device) -> Self {
        let (keys, values) = spec.widths(dim);
        let projections = [(dim, keys), (dim, keys), (dim, values), (values, dim)]
            .map(|(inputs, outputs)| Linear::random(inputs, outputs, false, device));
        let norm = spec.output_norm.then(|| RmsNorm::new(values / spec.heads, spec.epsilon, device));
        let convolution = spec.convolution.map(|width| ShortConvolution::random(width, [keys, keys, values], device));
        Self { convolution, ..Self::new(spec, projections, norm) }
    }

    /// How the mixer was built.
    pub fn spec(&self) -> &LinearAttentionSpec {
        &self.spec
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape. Every segment goes on from its state, if the cache has states, or from
    /// nothing.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let mut past = Past::of(ctx, x.dims()[1]);
        let inputs = self.project(x, &mut past);
        self.finish(past.recur(inputs, Decay::None, &self.spec.recurrence()))
    }

    /// Features of queries and keys, and values: `[batch, heads, tokens, head_dim]`.
    fn project(&self, x: Tensor<3>, past: &mut Past<'_>) -> [Tensor<4>; 3] {
        let projected = Linear::forward_each([&self.query, &self.key, &self.value], x);
        let projected = past.convolve(self.convolution.as_ref(), projected);
        let [query, key, value] = projected.map(|x| split_heads(x, self.spec.heads));
        [self.spec.feature_map.apply(query), self.spec.feature_map.apply(key), value]
    }

    /// `[batch, heads, tokens, head_dim]` to `[batch, tokens, dim]`.
    fn finish(&self, mixed: Tensor<4>) -> Tensor<3> {
        let mixed = match &self.norm {
            Some(norm) => norm.forward(mixed.swap_dims(1, 2)).swap_dims(1, 2),
            None => mixed,
        };
        self.output.forward(join_heads(mixed))
    }
}

//! Softmax attention with projections: multi-head, grouped-query and multi-query.
//!
//! `o_i = Σ_j softmax_j(q_i · k_j / √d) v_j` over the keys that row `i` sees; `heads / kv_heads` query heads share
//! one key-value head. Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_kernels::attention::{AttnSpec, Stats};
use headwise_kernels::rope::Rope;
use headwise_ops::host::{self, Host};
use serde::{Deserialize, Serialize};

use super::{MixContext, Projected};
use crate::Linear;
use crate::norm::RmsNorm;
use crate::position::RopeSpec;

/// How to build a [`Softmax`] mixer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftmaxSpec {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; must divide `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Rotary position encoding; none leaves queries and keys as projected.
    #[serde(default)]
    pub rope: Option<RopeSpec>,
    /// Query `i` sees keys `j` with `0 ≤ i − j < window`; none sees all.
    #[serde(default)]
    pub window: Option<usize>,
    /// Rows see only earlier keys and their own; else all of them.
    #[serde(default = "yes")]
    pub causal: bool,
    /// Query, key and value projections have a bias.
    #[serde(default)]
    pub bias: bool,
    /// RMSNorm of every query and key head before rotation.
    #[serde(default)]
    pub qk_norm: bool,
    /// Factor of the scores; none is `1 / √head_dim`.
    #[serde(default)]
    pub scale: Option<f32>,
    /// Scores become `softcap · tanh(score / softcap)`.
    #[serde(default)]
    pub softcap: Option<f32>,
}

/// For serde.
fn yes() -> bool {
    true
}

impl SoftmaxSpec {
    /// What the attention kernel is told.
    pub fn attention(&self) -> AttnSpec {
        AttnSpec {
            scale: self.scale.unwrap_or(1.0 / (self.head_dim as f32).sqrt()),
            causal: self.causal,
            window: self.window,
            sinks_keep: 0,
            blocks: None,
            softcap: self.softcap,
            alibi: None,
            sink_logits: None,
            want: Stats::default(),
        }
    }
}

/// Norms of query and key heads.
#[derive(Module, Debug)]
pub struct HeadNorms {
    /// Of every query head, over `head_dim`.
    pub query: RmsNorm,
    /// Of every key head, over `head_dim`.
    pub key: RmsNorm,
}

/// Softmax attention with projections.
#[derive(Module, Debug)]
pub struct Softmax {
    /// `dim` to `heads · head_dim`.
    pub query: Linear,
    /// `dim` to `kv_heads · head_dim`.
    pub key: Linear,
    /// `dim` to `kv_heads · head_dim`.
    pub value: Linear,
    /// `heads · head_dim` to `dim`.
    pub output: Linear,
    /// Norms of query and key heads, where the model has them.
    pub norms: Option<HeadNorms>,
    #[module(skip)]
    spec: SoftmaxSpec,
    #[module(skip)]
    attention: AttnSpec,
    #[module(skip)]
    rope: Option<Rope>,
}

impl Softmax {
    /// A mixer from its projections `query, key, value, output`.
    pub fn new(spec: SoftmaxSpec, projections: [Linear; 4], norms: Option<HeadNorms>) -> Self {
        let [query, key, value, output] = projections;
        let rope = spec.rope.as_ref().map(|rope| rope.build(spec.head_dim));
        Self { query, key, value, output, norms, attention: spec.attention(), rope, spec }
    }

    /// Trainable weights at random.
    pub fn random(spec: SoftmaxSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        let (queries, keys) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let projections = [
            Linear::random(dim, queries, spec.bias, device),
            Linear::random(dim, keys, spec.bias, device),
            Linear::random(dim, keys, spec.bias, device),
            Linear::random(queries, dim, false, device),
        ];
        let norm = || RmsNorm::new(spec.head_dim, epsilon, device);
        let norms = spec.qk_norm.then(|| HeadNorms { query: norm(), key: norm() });
        Self::new(spec, projections, norms)
    }

    /// How the mixer was built.
    pub fn spec(&self) -> &SoftmaxSpec {
        &self.spec
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape. With a cache, `batch` is 1 and tokens are rows.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let [query, key, value] = Linear::forward_each([&self.query, &self.key, &self.value], x);
        let query = self.heads_normed(query, self.spec.heads, |norms| &norms.query);
        let key = self.heads_normed(key, self.spec.kv_heads, |norms| &norms.key);
        let mixed = match ctx.cache.as_deref_mut() {
            Some(cache) => {
                let (shape, device) = (query.dims(), query.device());
                let (query, key, value) = (Host::new(query), Host::new(key), Host::new(value));
                let mut out = vec![0.0; query.as_slice().len()];
                let projected = Projected {
                    query: query.as_slice(),
                    key: key.as_slice(),
                    value: value.as_slice(),
                    heads: self.spec.heads,
                    kv_heads: self.spec.kv_heads,
                    head_dim: self.spec.head_dim,
                };
                let (rope, spec) = (self.rope.as_ref(), &self.attention);
                cache.attend(ctx.layer, projected, rope, spec, ctx.positions, ctx.segments, &mut out);
                host::tensor(out, shape, &device)
            }
            None => self.attend_all(query, key, value, ctx.positions),
        };
        self.output.forward(mixed)
    }

    /// Attention of a whole text at once, without a cache; differentiable.
    fn attend_all(&self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, positions: &[i32]) -> Tensor<3> {
        let [batch, tokens, width] = query.dims();
        let split = |x: Tensor<3>, heads| x.reshape([batch, tokens, heads, self.spec.head_dim]).swap_dims(1, 2);
        let rotate = |x: Tensor<4>| match &self.rope {
            Some(rope) => headwise_ops::rope(x, positions, rope),
            None => x,
        };
        let query = rotate(split(query, self.spec.heads));
        let key = rotate(split(key, self.spec.kv_heads));
        let value = split(value, self.spec.kv_heads);
        let mixed = headwise_ops::attention(query, key, value, None, &self.attention).output;
        mixed.swap_dims(1, 2).reshape([batch, tokens, width])
    }

    /// Norms every head of `x` `[batch, tokens, heads · head_dim]`, where the model does.
    fn heads_normed(&self, x: Tensor<3>, heads: usize, norm: impl Fn(&HeadNorms) -> &RmsNorm) -> Tensor<3> {
        let Some(norms) = &self.norms else { return x };
        let [batch, tokens, width] = x.dims();
        norm(norms).forward(x.reshape([batch, tokens, heads, self.spec.head_dim])).reshape([batch, tokens, width])
    }
}

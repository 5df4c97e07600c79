//! Softmax attention with projections: multi-head, grouped-query and multi-query.
//!
//! `o_i = Σ_j softmax_j(q_i · k_j / √d) v_j` over the keys that row `i` sees; `heads / kv_heads` query heads share
//! one key-value head. Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_kernels::attention::{AttnSpec, Stats};
use headwise_kernels::rope::Rope;
use headwise_ops::host::{self, Host};

use super::past::{Past, offsets};
use super::short_convolution::{ShortConvolution, check_width};
use super::{MixContext, MixerState, Projected};
use crate::Linear;
use crate::adapter::Projection;
use crate::norm::RmsNorm;
use crate::position::{PositionSpec, RopeSpec, slopes};

headwise_spec::method! {
    /// Softmax attention with projections: multi-head, grouped-query and multi-query.
    ///
    /// Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245.
    pub struct SoftmaxSpec {
        /// Query heads.
        pub heads: usize = 4,
        /// Key-value heads; none is as many as query heads.
        pub kv_heads: Option<usize> = None,
        /// Channels of a head; none is `dim / heads`.
        pub head_dim: Option<usize> = None,
        /// How queries and keys know where they stand.
        pub position: PositionSpec = RopeSpec::default().into(),
        /// Query `i` sees keys `j` with `0 ≤ i − j < window`; none sees all.
        pub window: Option<usize> = None,
        /// Rows see only earlier keys and their own; else all of them.
        pub causal: bool = true,
        /// Query, key and value projections have a bias.
        pub bias: bool = false,
        /// RMSNorm of every query and key head before rotation.
        pub qk_norm: bool = false,
        /// Factor of the scores; none is `1 / √head_dim`.
        pub scale: Option<f32> = None,
        /// Scores become `softcap · tanh(score / softcap)`.
        pub softcap: Option<f32> = None,
        /// Width of a causal depthwise convolution of queries, keys and values, followed by SiLU; none has none.
        pub convolution: Option<usize> = None,
    }
}

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl Heads {
    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

impl SoftmaxSpec {
    /// Whether a mixer of `dim` channels can be built; a message that names the numbers if not.
    pub fn check(&self, dim: usize) -> Result<(), String> {
        self.check_alone()?;
        let head_dim = self.sizes(dim).head_dim;
        let whole = self.head_dim.is_some() || dim.is_multiple_of(self.heads);
        match whole && (self.rope().is_none() || head_dim.is_multiple_of(2)) {
            true => Ok(()),
            false => {
                let even = if self.rope().is_some() { " of an even number of channels" } else { "" };
                Err(format!("dim = {dim} of `x` does not divide into {} heads{even}; give head_dim", self.heads))
            }
        }
    }

    /// Whether the parameters make sense together, whatever the model.
    fn check_alone(&self) -> Result<(), String> {
        let (heads, kv_heads) = (self.heads, self.kv_heads.unwrap_or(self.heads));
        match () {
            () if heads == 0 => Err("heads=0: it must be at least 1".into()),
            () if kv_heads == 0 || heads % kv_heads != 0 => {
                Err(format!("kv_heads={kv_heads} must be at least 1 and divide heads={heads}"))
            }
            () if self.head_dim == Some(0) => Err("head_dim=0: it must be at least 1".into()),
            () if self.head_dim.is_some_and(|width| width.checked_mul(heads).is_none()) => {
                Err(format!("heads={heads} of this head_dim are too many"))
            }
            () if self.rope().is_some() && self.head_dim.is_some_and(|width| width % 2 == 1) => {
                Err("head_dim must be even for position=rope: channels turn in pairs".into())
            }
            () if self.window == Some(0) => Err("window=0 hides every key: it must be at least 1".into()),
            () if self.rope().is_some_and(|rope| rope.theta <= 0.0) => Err("theta must be above 0".into()),
            () if self.softcap.is_some_and(|cap| cap <= 0.0) => Err("softcap must be above 0".into()),
            () => check_width(self.convolution),
        }
    }

    /// What is kept of a text besides keys and values, before its first token.
    pub(super) fn state(&self, dim: usize) -> MixerState {
        let Heads { heads, kv_heads, head_dim } = self.sizes(dim);
        MixerState::new(0, self.convolution, [heads, kv_heads, kv_heads].map(|heads| heads * head_dim))
    }

    /// The heads in a model of `dim` channels.
    pub fn sizes(&self, dim: usize) -> Heads {
        let head_dim = self.head_dim.unwrap_or(dim / self.heads.max(1));
        Heads { heads: self.heads, kv_heads: self.kv_heads.unwrap_or(self.heads), head_dim }
    }

    /// The rotation, if queries and keys are rotated.
    pub fn rope(&self) -> Option<&RopeSpec> {
        match &self.position {
            PositionSpec::RopeSpec(rope) => Some(rope),
            PositionSpec::Alibi(_) | PositionSpec::Nope(_) => None,
        }
    }

    /// What the attention kernel is told in a model of `dim` channels.
    pub fn attention(&self, dim: usize) -> AttnSpec {
        let alibi = matches!(self.position, PositionSpec::Alibi(_)).then(|| slopes(self.heads).into());
        AttnSpec {
            scale: self.scale.unwrap_or(1.0 / (self.sizes(dim).head_dim as f32).sqrt()),
            causal: self.causal,
            window: self.window,
            sinks_keep: 0,
            blocks: None,
            softcap: self.softcap,
            alibi,
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
    /// Convolution of queries, keys and values, where there is one.
    pub convolution: Option<ShortConvolution>,
    #[module(skip)]
    spec: SoftmaxSpec,
    #[module(skip)]
    heads: Heads,
    #[module(skip)]
    attention: AttnSpec,
    #[module(skip)]
    rope: Option<Rope>,
}

impl Softmax {
    /// A mixer of `dim` channels from its projections `query, key, value, output`.
    pub fn new(spec: SoftmaxSpec, dim: usize, projections: [Linear; 4], norms: Option<HeadNorms>) -> Self {
        let [query, key, value, output] = projections;
        let heads = spec.sizes(dim);
        let rope = spec.rope().map(|rope| rope.build(heads.head_dim));
        let attention = spec.attention(dim);
        Self { query, key, value, output, norms, convolution: None, heads, attention, rope, spec }
    }

    /// Trainable weights at random.
    pub fn random(spec: SoftmaxSpec, dim: usize, epsilon: f64, device: &Device) -> Self {
        let Heads { heads, kv_heads, head_dim } = spec.sizes(dim);
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let projections = [
            Linear::random(dim, queries, spec.bias, device),
            Linear::random(dim, keys, spec.bias, device),
            Linear::random(dim, keys, spec.bias, device),
            Linear::random(queries, dim, false, device),
        ];
        let norm = || RmsNorm::new(head_dim, epsilon, device);
        let norms = spec.qk_norm.then(|| HeadNorms { query: norm(), key: norm() });
        let channels = [queries, keys, keys];
        let convolution = spec.convolution.map(|width| ShortConvolution::random(width, channels, device));
        Self { convolution, ..Self::new(spec, dim, projections, norms) }
    }

    /// How the mixer was built.
    pub fn spec(&self) -> &SoftmaxSpec {
        &self.spec
    }

    /// The rotation of queries and keys, if they are rotated.
    pub fn rope(&self) -> Option<&Rope> {
        self.rope.as_ref()
    }

    /// The keys, not rotated, and values of `x` `[batch, tokens, dim]` in a mixer without a convolution: `[batch, tokens, kv_heads ·
    /// head_dim]` each.
    pub fn keys_and_values(&self, x: Tensor<3>) -> [Tensor<3>; 2] {
        let [key, value] = Linear::forward_each([&self.key, &self.value], x);
        [self.heads_normed(key, self.heads.kv_heads, |norms| &norms.key), value]
    }

    /// Whether `other` rotates alike; then both compute their sines once.
    pub fn share_rotation(&mut self, other: &Self) -> bool {
        match (&mut self.rope, &other.rope) {
            (Some(rope), Some(other)) => rope.share(other),
            _ => false,
        }
    }

    /// Mixes `x` `[batch, tokens, dim]`; returns the same shape. With a cache, `batch` is 1 and tokens are rows.
    pub fn forward(&self, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        let tokens = x.dims()[1];
        let adapters = ctx.adapters();
        let projections =
            [(Projection::Query, &self.query), (Projection::Key, &self.key), (Projection::Value, &self.value)];
        let mut projected = adapters.forward_each(projections, x);
        if self.convolution.is_some() {
            projected = Past::of(ctx, tokens).convolve(self.convolution.as_ref(), projected);
        }
        let [query, key, value] = projected;
        let query = self.heads_normed(query, self.heads.heads, |norms| &norms.query);
        let key = self.heads_normed(key, self.heads.kv_heads, |norms| &norms.key);
        let mixed = match ctx.cache.as_deref_mut() {
            Some(cache) => {
                let (shape, device) = (query.dims(), query.device());
                let (query, key, value) = (Host::new(query), Host::new(key), Host::new(value));
                let mut out = vec![0.0; query.as_slice().len()];
                let projected = Projected {
                    query: query.as_slice(),
                    key: key.as_slice(),
                    value: value.as_slice(),
                    heads: self.heads.heads,
                    kv_heads: self.heads.kv_heads,
                    head_dim: self.heads.head_dim,
                };
                let (rope, spec) = (self.rope.as_ref(), &self.attention);
                cache.attend(ctx.layer, projected, rope, spec, ctx.positions, ctx.segments, &mut out);
                host::tensor(out, shape, &device)
            }
            None => self.attend_each(query, key, value, ctx),
        };
        adapters.forward(Projection::Output, &self.output, mixed)
    }

    /// Attention of every sequence alone, without a cache.
    fn attend_each(&self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, ctx: &MixContext<'_>) -> Tensor<3> {
        let ([batch, tokens, width], offsets) = (query.dims(), offsets(ctx.segments, query.dims()[1]));
        let length = ctx.equal_lengths().filter(|&length| length > 0 && offsets.len() > 2);
        let Some(length) = length else { return self.attend_all([query, key, value], ctx.positions, &offsets) };
        // Texts of one length are a batch.
        let apart = [query, key, value].map(|x| {
            let [_, _, width] = x.dims();
            x.reshape([batch * tokens / length, length, width])
        });
        self.attend_all(apart, &ctx.positions[..length], &[0, length]).reshape([batch, tokens, width])
    }

    /// Attention of the texts between `offsets`, without a cache; differentiable.
    fn attend_all(&self, inputs: [Tensor<3>; 3], positions: &[i32], offsets: &[usize]) -> Tensor<3> {
        let ([batch, tokens, width], [query, key, value]) = (inputs[0].dims(), inputs);
        let split = |x: Tensor<3>, heads| x.reshape([batch, tokens, heads, self.heads.head_dim]).swap_dims(1, 2);
        let rotate = |x: Tensor<4>| match &self.rope {
            Some(rope) => headwise_ops::rope(x, positions, rope),
            None => x,
        };
        let query = rotate(split(query, self.heads.heads));
        let key = rotate(split(key, self.heads.kv_heads));
        let value = split(value, self.heads.kv_heads);
        let mixed = match offsets {
            [_, _] => headwise_ops::attention(query, key, value, None, &self.attention).output,
            _ => headwise_ops::packed_attention(query, key, value, offsets, &self.attention),
        };
        mixed.swap_dims(1, 2).reshape([batch, tokens, width])
    }

    /// Norms every head of `x` `[batch, tokens, heads · head_dim]`, where the model does.
    fn heads_normed(&self, x: Tensor<3>, heads: usize, norm: impl Fn(&HeadNorms) -> &RmsNorm) -> Tensor<3> {
        let Some(norms) = &self.norms else { return x };
        let [batch, tokens, width] = x.dims();
        norm(norms).forward(x.reshape([batch, tokens, heads, self.heads.head_dim])).reshape([batch, tokens, width])
    }
}

//! A layer of the transformer: attention and a channel mixer, both scaled, shifted and gated by the condition (AdaLN).
//!
//! Queries and keys have length 1 and queries are multiplied by a learned `exp(min(scale, ln 100))` of their head, so scores are
//! cosines. Peebles and Xie 2023 (DiT), arXiv:2212.09748; Tian et al. 2024 (VAR), arXiv:2404.02905.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use headwise_kernels::attention::AttnSpec;
use headwise_nn::Linear;
use headwise_ops::{attention, gelu_tanh, layer_norm, rms_norm};

use super::spec::NextScaleSpec;

/// Channels of the channel mixer, in those of the layer.
const WIDENED: usize = 4;
/// What a head's queries are multiplied with before it has learned.
const FIRST_SCALE: f64 = 4.0;
/// What they are multiplied with at most.
const LARGEST_SCALE: f64 = 100.0;
/// Parts of a modulation: gate, scale and shift of the attention, then of the channel mixer.
pub(super) const PARTS: usize = 6;
const EPSILON: f32 = 1e-6;

/// One layer.
#[derive(Module, Debug)]
pub struct NextScaleBlock {
    /// Added to what the condition says: `[6, dim]`.
    pub modulation: Param<Tensor<2>>,
    /// To queries.
    pub query: Linear,
    /// To keys, without a bias.
    pub key: Linear,
    /// To values.
    pub value: Linear,
    /// The logarithm of what queries are multiplied with: `[heads]`.
    pub scale: Param<Tensor<1>>,
    /// From the heads back to the layer.
    pub output: Linear,
    /// Into the channel mixer.
    pub up: Linear,
    /// Out of the channel mixer.
    pub down: Linear,
}

/// Queries, keys and values as attention takes them, queries multiplied and both normalised: `[rows, heads, tokens, head_dim]`.
#[derive(Clone, Debug)]
pub struct Projected {
    /// Queries.
    pub query: Tensor<4>,
    /// Keys.
    pub key: Tensor<4>,
    /// Values.
    pub value: Tensor<4>,
}

impl NextScaleBlock {
    /// A layer with weights drawn at random, whose gates are open.
    pub fn random(spec: &NextScaleSpec, device: &Device) -> Self {
        let (dim, heads) = (spec.dim, spec.heads);
        let gates = Tensor::from_floats([[1.0], [0.0], [0.0], [1.0], [0.0], [0.0]], device);
        let noise = Tensor::random([PARTS, dim], Distribution::Normal(0.0, 0.02), device);
        Self {
            modulation: Param::from_tensor(noise + gates),
            query: Linear::random(dim, dim, true, device),
            key: Linear::random(dim, dim, false, device),
            value: Linear::random(dim, dim, true, device),
            scale: Param::from_tensor(Tensor::full([heads], FIRST_SCALE.ln(), device)),
            output: Linear::random(dim, dim, true, device),
            up: Linear::random(dim, WIDENED * dim, true, device),
            down: Linear::random(WIDENED * dim, dim, true, device),
        }
    }

    /// `x` `[rows, tokens, dim]` under the condition `[rows, 6, dim]`; `attend` turns queries, keys and values into what
    /// [`attended`] gives for them, whatever keys it takes besides.
    pub fn forward(
        &self,
        x: Tensor<3>,
        condition: &Tensor<3>,
        attend: impl FnOnce(Projected) -> Tensor<4>,
    ) -> Tensor<3> {
        let parts = condition.clone() + self.modulation.val().unsqueeze();
        let part = |index: usize| parts.clone().narrow(1, index, 1);
        let seen = modulated(x.clone(), part(1), part(2));
        let mixed = self.join(attend(self.project(seen)));
        let x = x + mixed * part(0);
        let seen = modulated(x.clone(), part(4), part(5));
        x + self.down.forward(gelu_tanh(self.up.forward(seen))) * part(3)
    }

    fn project(&self, x: Tensor<3>) -> Projected {
        let [rows, tokens, dim] = x.dims();
        let [heads] = self.scale.val().dims();
        let width = dim / heads;
        let [query, key, value] = Linear::forward_each([&self.query, &self.key, &self.value], x)
            .map(|y| y.reshape([rows, tokens, heads, width]));
        // A norm by the root of the mean square, with the weight that makes it one by length.
        let unit = Tensor::full([width], (width as f64).powf(-0.5), &query.device());
        let length_one = |y: Tensor<4>| rms_norm(y, unit.clone(), EPSILON);
        let scale = self.scale.val().clamp_max(LARGEST_SCALE.ln()).exp().reshape([1, 1, heads, 1]);
        let [query, key, value] = [length_one(query) * scale, length_one(key), value].map(|y| y.swap_dims(1, 2));
        Projected { query, key, value }
    }

    /// `[rows, heads, tokens, head_dim]` to `[rows, tokens, dim]`.
    fn join(&self, attended: Tensor<4>) -> Tensor<3> {
        let [rows, heads, tokens, width] = attended.dims();
        self.output.forward(attended.swap_dims(1, 2).reshape([rows, tokens, heads * width]))
    }
}

/// What queries read of keys and values, with a bias that hides some of them from some.
pub fn attended(projected: Projected, bias: Option<Tensor<4>>) -> Tensor<4> {
    let Projected { query, key, value } = projected;
    attention(query, key, value, bias, &AttnSpec { scale: 1.0, ..AttnSpec::default() }).output
}

/// `x` `[rows, tokens, dim]`, normalised, scaled by `1 + scale` and shifted; both `[rows, 1, dim]`.
pub(super) fn modulated(x: Tensor<3>, scale: Tensor<3>, shift: Tensor<3>) -> Tensor<3> {
    let [.., dim] = x.dims();
    let weight = Tensor::ones([dim], &x.device());
    layer_norm(x, weight, None, EPSILON) * (scale + 1.0) + shift
}

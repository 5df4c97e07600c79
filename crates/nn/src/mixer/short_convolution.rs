//! A short causal depthwise convolution of queries, keys and values, so that each token knows the ones just before it.
//!
//! `y_t = silu(Σ_j w_j ⊙ x_{t-width+1+j})`, for each of the three with weights of its own; tokens before the start of a text count as
//! zero. A step keeps the last `width - 1` rows. Gu and Dao 2023, arXiv:2312.00752; Yang et al. 2024, arXiv:2406.06484.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use headwise_kernels::convolution;
use headwise_ops::host::{self, Host};

/// Weights `[channels, width]` for queries, keys and values; the last column is that of the token itself.
#[derive(Module, Debug)]
pub struct ShortConvolution {
    /// Of the queries.
    pub query: Param<Tensor<2>>,
    /// Of the keys.
    pub key: Param<Tensor<2>>,
    /// Of the values.
    pub value: Param<Tensor<2>>,
}

/// Queries, keys and values of the last tokens before a step, `[batch, width - 1, channels]` each, oldest first; empty without a
/// convolution.
pub(super) type Tails = [Vec<f32>; 3];

/// What comes before the tokens that are convolved.
pub(super) enum Past<'a> {
    /// Nothing: whole texts start at these offsets, of which the last is the number of tokens.
    Nothing(&'a [usize]),
    /// The tails, for one token of every row of the batch; they move on by it.
    Tails(&'a mut Tails),
}

impl ShortConvolution {
    /// Weights `[channels, width]` of queries, keys and values.
    pub fn new([query, key, value]: [Tensor<2>; 3]) -> Self {
        Self { query: Param::from_tensor(query), key: Param::from_tensor(key), value: Param::from_tensor(value) }
    }

    /// Trainable weights at random, uniform in `±1/√width`, for so many channels of queries, keys and values.
    pub fn random(width: usize, channels: [usize; 3], device: &Device) -> Self {
        let most = 1.0 / (width as f64).sqrt();
        Self::new(
            channels.map(|channels| Tensor::random([channels, width], Distribution::Uniform(-most, most), device)),
        )
    }

    fn weights(&self) -> [Tensor<2>; 3] {
        [&self.query, &self.key, &self.value].map(Param::val)
    }

    /// Queries, keys and values `[batch, tokens, channels]` to the same shapes.
    fn forward(&self, inputs: [Tensor<3>; 3], past: Past<'_>) -> [Tensor<3>; 3] {
        let mut inputs = inputs.into_iter().zip(self.weights());
        let mut next = || inputs.next().expect("three inputs");
        match past {
            Past::Nothing(offsets) => std::array::from_fn(|_| {
                let (x, weight) = next();
                headwise_ops::short_convolution(x, weight, offsets)
            }),
            Past::Tails(tails) => tails.each_mut().map(|tail| {
                let (x, weight) = next();
                step(x, weight, tail)
            }),
        }
    }
}

/// One token of every row: `x` `[batch, 1, channels]` to the same shape.
fn step(x: Tensor<3>, weight: Tensor<2>, tail: &mut [f32]) -> Tensor<3> {
    let (shape, device, [channels, width]) = (x.dims(), x.device(), weight.dims());
    let (x, weight) = (Host::new(x), Host::new(weight));
    let mut out = vec![0.0; x.as_slice().len()];
    convolution::step(channels, width, x.as_slice(), weight.as_slice(), tail, &mut out);
    host::tensor(out, shape, &device)
}

/// Queries, keys and values `[batch, tokens, channels]` after `convolution`, where there is one.
pub(super) fn convolve(
    convolution: Option<&ShortConvolution>,
    inputs: [Tensor<3>; 3],
    past: Past<'_>,
) -> [Tensor<3>; 3] {
    match convolution {
        Some(convolution) => convolution.forward(inputs, past),
        None => inputs,
    }
}

/// The tails of `batch` rows before their first token.
pub(super) fn tails(convolution: Option<&ShortConvolution>, batch: usize) -> Tails {
    match convolution {
        Some(convolution) => convolution.weights().map(|weight| {
            let [channels, width] = weight.dims();
            vec![0.0; batch * (width - 1) * channels]
        }),
        None => Tails::default(),
    }
}

/// Whether a convolution of this width, if any, can be built.
pub(super) fn check_width(width: Option<usize>) -> Result<(), String> {
    match width {
        Some(0) => Err("convolution=0: it must be at least 1; none leaves it out".into()),
        _ => Ok(()),
    }
}

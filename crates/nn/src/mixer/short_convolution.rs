//! A short causal depthwise convolution of queries, keys and values, so that each token knows the ones just before it.
//!
//! `y_t = silu(Σ_j w_j ⊙ x_{t-width+1+j})`, for each of the three with weights of its own; tokens before the start of a text count as
//! zero. Between forwards the last `width - 1` rows are kept. Gu and Dao 2023, arXiv:2312.00752; Yang et al. 2024, arXiv:2406.06484.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};

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
}

/// Whether a convolution of this width, if any, can be built.
pub(super) fn check_width(width: Option<usize>) -> Result<(), String> {
    match width {
        Some(0) => Err("convolution=0: it must be at least 1; none leaves it out".into()),
        _ => Ok(()),
    }
}

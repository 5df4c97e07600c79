//! Factorised token vectors: narrow ones and two matrices, so that a vocabulary costs less. Lan et al. 2020, arXiv:1909.11942.
//!
//! A table of `vocabulary · dim` weights becomes one of `vocabulary · width` and two matrices of `width · dim`. A head that is tied to the
//! table reads the stream through the second matrix, as ALBERT's does (there with an activation and a norm, here without).

use burn::module::Module;
use burn::tensor::Device;

use crate::Linear;

/// The way between token vectors of `width` channels and a residual stream of `dim`.
#[derive(Module, Debug)]
pub struct Factor {
    /// `width` to `dim`.
    pub up: Linear,
    /// `dim` to `width`, before the output head.
    pub down: Linear,
}

impl Factor {
    /// Trainable weights at random.
    pub fn random(width: usize, dim: usize, device: &Device) -> Self {
        Self { up: Linear::random(width, dim, false, device), down: Linear::random(dim, width, false, device) }
    }
}

//! A linear projection whose weights are either trainable floats or packed for inference.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_kernels::matrix::PackedMatrix;
use headwise_ops::host::Host;

/// `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub enum Linear {
    /// Burn parameters, trainable.
    Float(burn::nn::Linear),
    /// Weights in the layout of the inference kernels, quantised or not; no gradient.
    Packed(Packed),
    /// Parameters that keep what they are given, for methods that look at the inputs of a layer.
    Watched(Watched),
}

/// Parameters that keep what they are given.
#[derive(Module, Debug)]
pub struct Watched {
    #[module(skip)]
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    linear: burn::nn::Linear,
    seen: Mutex<Vec<f32>>,
}

impl Watched {
    /// The parameters.
    pub fn linear(&self) -> &burn::nn::Linear {
        &self.kept.linear
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut seen = self.kept.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend_from_slice(Host::new(headwise_ops::host::contiguous(x.clone())).as_slice());
        product(self.linear(), x)
    }
}

fn product<const D: usize>(linear: &burn::nn::Linear, x: Tensor<D>) -> Tensor<D> {
    headwise_ops::linear(x, linear.weight.val(), linear.bias.as_ref().map(|bias| bias.val()))
}

/// Weights in kernel layout, shared by all clones.
#[derive(Module, Debug)]
pub struct Packed {
    #[module(skip)]
    weight: Arc<PackedMatrix>,
    #[module(skip)]
    bias: Option<Arc<[f32]>>,
}

impl Packed {
    /// Weights `[outputs, inputs]` with an optional bias `[outputs]`.
    pub fn new(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Self {
        Self { weight: Arc::new(weight), bias: bias.map(Into::into) }
    }

    fn parts(&self) -> (&PackedMatrix, Option<&[f32]>) {
        (&self.weight, self.bias.as_deref())
    }

    /// The weight matrix.
    pub fn weight(&self) -> &PackedMatrix {
        &self.weight
    }

    /// `x` `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Panics
    /// If `x` tracks gradients: packed weights have none, load the model with float weights to train it.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        assert!(!x.is_require_grad(), "packed weights have no gradient: load the model with float weights to train it");
        let [y] = headwise_ops::packed_products(x, [self.parts()]);
        y
    }
}

impl Linear {
    /// Trainable weights, initialised at random.
    pub fn random(inputs: usize, outputs: usize, bias: bool, device: &Device) -> Self {
        Self::Float(burn::nn::LinearConfig::new(inputs, outputs).with_bias(bias).init(device))
    }

    /// Packed weights `[outputs, inputs]` with an optional bias `[outputs]`.
    pub fn packed(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Self {
        Self::Packed(Packed::new(weight, bias))
    }

    /// `x` `[.., inputs]` to `[.., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Float(linear) => product(linear, x),
            Self::Packed(packed) => packed.forward(x),
            Self::Watched(watched) => watched.forward(x),
        }
    }

    /// Keeps what parameters are given from now on; packed weights stay as they are.
    pub fn watch(&mut self) {
        if let Self::Float(linear) = self {
            let kept = Kept { linear: linear.clone(), seen: Mutex::default() };
            *self = Self::Watched(Watched { kept: Arc::new(kept) });
        }
    }

    /// The rows `[rows, inputs]` that were given since [`watch`](Self::watch), which ends.
    pub fn unwatch(&mut self) -> Vec<f32> {
        let Self::Watched(Watched { kept }) = self else { return Vec::new() };
        let rows = std::mem::take(&mut *kept.seen.lock().unwrap_or_else(PoisonError::into_inner));
        *self = Self::Float(kept.linear.clone());
        rows
    }

    /// What each of `layers` makes of the same `x`, all at once if they are packed.
    pub fn forward_each<const D: usize, const N: usize>(layers: [&Self; N], x: Tensor<D>) -> [Tensor<D>; N] {
        let packed: Vec<&Packed> = layers
            .into_iter()
            .filter_map(|layer| match layer {
                Self::Packed(packed) => Some(packed),
                Self::Float(_) | Self::Watched(_) => None,
            })
            .collect();
        match <[&Packed; N]>::try_from(packed) {
            Ok(packed) => headwise_ops::packed_products(x, packed.map(Packed::parts)),
            Err(_) => layers.map(|layer| layer.forward(x.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_layer_computes_the_same_and_keeps_its_rows() {
        let device = Device::flex();
        let mut layer = Linear::random(3, 2, true, &device);
        let x = Tensor::<3>::from_data([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], &device);
        let expected = layer.forward(x.clone());
        layer.watch();
        for _ in 0..2 {
            assert_eq!(Host::new(layer.forward(x.clone())).as_slice(), Host::new(expected.clone()).as_slice());
        }
        assert_eq!(layer.unwatch(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].repeat(2));
        assert!(matches!(layer, Linear::Float(_)) && layer.unwatch().is_empty());
    }
}

//! A linear projection whose weights are either trainable floats or packed for inference.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_kernels::matrix::PackedMatrix;

/// `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub enum Linear {
    /// Burn parameters, trainable.
    Float(burn::nn::Linear),
    /// Weights in the layout of the inference kernels, quantised or not; no gradient.
    Packed(Packed),
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
            Self::Float(linear) => {
                headwise_ops::linear(x, linear.weight.val(), linear.bias.as_ref().map(|bias| bias.val()))
            }
            Self::Packed(packed) => packed.forward(x),
        }
    }

    /// What each of `layers` makes of the same `x`, all at once if they are packed.
    pub fn forward_each<const D: usize, const N: usize>(layers: [&Self; N], x: Tensor<D>) -> [Tensor<D>; N] {
        let packed: Vec<&Packed> = layers
            .into_iter()
            .filter_map(|layer| match layer {
                Self::Packed(packed) => Some(packed),
                Self::Float(_) => None,
            })
            .collect();
        match <[&Packed; N]>::try_from(packed) {
            Ok(packed) => headwise_ops::packed_products(x, packed.map(Packed::parts)),
            Err(_) => layers.map(|layer| layer.forward(x.clone())),
        }
    }
}

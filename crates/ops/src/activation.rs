//! Gated activations.

use burn::tensor::{Tensor, activation};

/// `silu(gate) · up`, element by element.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    activation::silu(gate) * up
}

/// `gelu(gate) · up` with the tanh form of GELU, element by element.
pub fn geglu_tanh<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(gate) * up
}

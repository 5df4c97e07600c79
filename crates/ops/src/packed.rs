//! Products with packed weights.

use burn::tensor::Tensor;
use headwise_kernels::matrix::PackedMatrix;

use crate::host::{Host, tensor};

/// `y = x · weightᵀ + bias`: `x` `[.., inputs]` to `[.., outputs]`.
///
/// # Panics
/// If `x` needs a gradient: packed weights pass none on. Train with the weights as float tensors.
pub fn packed_product<const D: usize>(x: Tensor<D>, weight: &PackedMatrix, bias: Option<&[f32]>) -> Tensor<D> {
    assert!(!x.is_tracked(), "packed weights pass no gradient on: unpack them to train this model or what precedes it");
    let (mut shape, device) = (x.dims(), x.device());
    let (inputs, outputs) = (weight.inputs(), weight.outputs());
    let rows = shape[..D - 1].iter().product();
    let mut y = vec![0.0; rows * outputs];
    let x = Host::new(x);
    match bias {
        Some(bias) => weight.product_with_bias(x.as_slice(), rows, inputs, bias, &mut y, outputs),
        None => weight.product(x.as_slice(), rows, inputs, &mut y, outputs),
    }
    shape[D - 1] = outputs;
    tensor(y, shape, &device)
}

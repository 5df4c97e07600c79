//! Products with packed weights.

use burn::tensor::Tensor;
use headwise_kernels::matrix::PackedMatrix;

use crate::host::{Host, tensor};

/// `y = x · weightᵀ + bias`: `x` `[.., inputs]` to `[.., outputs]`. Packed weights have no gradient.
pub fn packed_product<const D: usize>(x: Tensor<D>, weight: &PackedMatrix, bias: Option<&[f32]>) -> Tensor<D> {
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

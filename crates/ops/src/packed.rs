//! Products with packed weights.

use burn::tensor::Tensor;
use headwise_kernels::matrix::{PackedMatrix, Product, products};

use crate::host::{Host, tensor};

/// `y = x · weightᵀ + bias` for each weight and its bias: `x` `[.., inputs]` to `[.., outputs]`.
///
/// Projections of the same `x` cost less together than one after the other.
///
/// # Panics
/// If `x` needs a gradient: packed weights pass none on. Train with the weights as float tensors.
pub fn packed_products<const D: usize, const N: usize>(
    x: Tensor<D>,
    weights: [(&PackedMatrix, Option<&[f32]>); N],
) -> [Tensor<D>; N] {
    assert!(!x.is_tracked(), "packed weights pass no gradient on: unpack them to train this model or what precedes it");
    let (shape, device) = (x.dims(), x.device());
    let rows = shape[..D - 1].iter().product();
    let x = Host::new(x);
    let mut results = weights.map(|(weight, _)| vec![0.0; rows * weight.outputs()]);
    let mut all: Vec<Product<'_>> = weights
        .into_iter()
        .zip(&mut results)
        .map(|((weight, bias), y)| Product { weight, bias, y, y_stride: weight.outputs() })
        .collect();
    products(x.as_slice(), rows, shape[D - 1], &mut all);
    let mut outputs = weights.into_iter().map(|(weight, _)| weight.outputs());
    results.map(|y| {
        let mut shape = shape;
        shape[D - 1] = outputs.next().expect("as many as results");
        tensor(y, shape, &device)
    })
}

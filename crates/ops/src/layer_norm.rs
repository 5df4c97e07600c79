//! LayerNorm: `y = (x - mean(x)) / √(var(x) + ε) · weight + bias` over the last dimension, with the variance over `dim`
//! values, not `dim - 1`. Ba, Kiros and Hinton 2016, arXiv:1607.06450.

use burn::tensor::Tensor;

use crate::kernel_op::{kernels_serve, output};
use crate::norm::Norm;

/// `(x - mean(x)) / √(var(x) + epsilon) · weight + bias` over the last dimension; `weight` and `bias` `[dim]`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f32) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "a weight for each channel");
    if !kernels_serve(&x) {
        return composed(x, weight, bias, epsilon);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let norm = Norm { centred: true, epsilon };
    match bias {
        Some(bias) => output(norm, [x, weight, bias.into_dispatch()]),
        None => output(norm, [x, weight]),
    }
}

fn composed<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f32) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    let y = centred / (variance + epsilon).sqrt() * weight.unsqueeze();
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

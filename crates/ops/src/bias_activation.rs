//! A bias and the activation after it in one pass: `f(x + bias)` with `f` GELU, its `tanh` form, or SiLU.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::activation as kernels;

use crate::activation::{gelu, gelu_tanh, silu};
use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `gelu(x + bias)`; `bias` `[dim]`.
pub fn bias_gelu<const D: usize>(x: Tensor<D>, bias: Tensor<1>) -> Tensor<D> {
    let fused = BiasActivation { value: kernels::bias_gelu, gradients: kernels::bias_gelu_backward };
    apply(x, bias, gelu, fused)
}

/// `gelu_tanh(x + bias)`; `bias` `[dim]`.
pub fn bias_gelu_tanh<const D: usize>(x: Tensor<D>, bias: Tensor<1>) -> Tensor<D> {
    let fused = BiasActivation { value: kernels::bias_gelu_tanh, gradients: kernels::bias_gelu_tanh_backward };
    apply(x, bias, gelu_tanh, fused)
}

/// `silu(x + bias)`; `bias` `[dim]`.
pub fn bias_silu<const D: usize>(x: Tensor<D>, bias: Tensor<1>) -> Tensor<D> {
    let fused = BiasActivation { value: kernels::bias_silu, gradients: kernels::bias_silu_backward };
    apply(x, bias, silu, fused)
}

fn apply<const D: usize>(
    x: Tensor<D>,
    bias: Tensor<1>,
    composed: fn(Tensor<D>) -> Tensor<D>,
    fused: BiasActivation,
) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], bias.dims()[0], "a bias for each channel");
    if !kernels_serve(&x) {
        return composed(x + bias.unsqueeze());
    }
    output(fused, [x.into_dispatch(), bias.into_dispatch()])
}

/// A function `y = f(x + bias)` and its gradients.
#[derive(Clone, Debug)]
struct BiasActivation {
    /// From `x` and the bias to `y`.
    value: fn(&[f32], &[f32], &mut [f32]),
    gradients: Gradients,
}

/// From `x`, the bias and `dy` to `dx` and, added to what is there, the gradient of the bias.
type Gradients = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

impl KernelOp<2> for BiasActivation {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2]) -> Vec<FlexTensor> {
        let [x, bias] = inputs.map(contiguous);
        vec![new_like(&x, |y| (self.value)(elements(&x), elements(&bias), y))]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 2]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let inputs = inputs.map(contiguous);
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, [x, bias]: [FlexTensor; 2], upstream: Upstream<2>) -> [Option<FlexTensor>; 2] {
        let dy = contiguous(upstream.gradient);
        let mut d_bias = vec![0.0; elements(&bias).len()];
        let d_x = new_like(&x, |d_x| (self.gradients)(elements(&x), elements(&bias), elements(&dy), d_x, &mut d_bias));
        [x, dy].into_iter().for_each(recycle);
        [d_x, own(d_bias, bias.shape())].map(Some)
    }
}

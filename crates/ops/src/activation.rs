//! Activation functions: GELU and SiLU, element by element.
//!
//! `gelu(x) = x Φ(x)`, exactly or in its `tanh` form, and `silu(x) = x σ(x)`: Hendrycks and Gimpel 2016, arXiv:1606.08415.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};
use headwise_kernels::activation as kernels;

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `x Φ(x)` with the normal distribution function `Φ`.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !kernels_serve(&x) {
        return activation::gelu(x);
    }
    output(Activation { value: kernels::gelu, gradient: kernels::gelu_backward }, [x.into_dispatch()])
}

/// GELU in its `tanh` form, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !kernels_serve(&x) {
        return activation::gelu_approximate(x);
    }
    output(Activation { value: kernels::gelu_tanh, gradient: kernels::gelu_tanh_backward }, [x.into_dispatch()])
}

/// `x σ(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !kernels_serve(&x) {
        return activation::silu(x);
    }
    output(Activation { value: kernels::silu, gradient: kernels::silu_backward }, [x.into_dispatch()])
}

/// A function `y = f(x)` and its gradient `dx = dy · f'(x)`.
#[derive(Clone, Debug)]
struct Activation {
    /// From `x` to `y`.
    value: fn(&[f32], &mut [f32]),
    /// From `x` and `dy` to `dx`.
    gradient: fn(&[f32], &[f32], &mut [f32]),
}

impl KernelOp<1> for Activation {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> Vec<FlexTensor> {
        let x = contiguous(x);
        vec![new_like(&x, |y| (self.value)(elements(&x), y))]
    }

    fn forward_saving(&self, [x]: [FlexTensor; 1]) -> (Vec<FlexTensor>, FlexTensor) {
        let x = contiguous(x);
        (self.forward([x.clone()]), x)
    }

    fn backward(&self, x: FlexTensor, upstream: Upstream<1>) -> [Option<FlexTensor>; 1] {
        let dy = contiguous(upstream.gradient);
        let dx = new_like(&x, |dx| (self.gradient)(elements(&x), elements(&dy), dx));
        [x, dy].into_iter().for_each(recycle);
        [Some(dx)]
    }
}

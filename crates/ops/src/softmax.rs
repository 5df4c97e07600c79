//! Softmax and its logarithm over the last dimension.
//!
//! `y_i = e^{x_i} / Σ_j e^{x_j}`. A row of −∞ alone becomes zeros (its logarithm −∞), so that an empty mask adds nothing.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::softmax as kernels;

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// Softmax over the last dimension.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !kernels_serve(&x) {
        let (exponentials, _, sum) = exponentials(x);
        return exponentials / sum;
    }
    output(Softmax { value: kernels::softmax, gradient: kernels::softmax_backward }, [x.into_dispatch()])
}

/// The logarithm of [`softmax`], `x - ln Σ_j e^{x_j}`.
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !kernels_serve(&x) {
        let (_, shifted, sum) = exponentials(x);
        return shifted - sum.log();
    }
    output(Softmax { value: kernels::log_softmax, gradient: kernels::log_softmax_backward }, [x.into_dispatch()])
}

/// `e^{x - max x}`, `x - max x`, and the sum of the former over the last dimension, 1 where it would be 0.
fn exponentials<const D: usize>(x: Tensor<D>) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let largest = x.clone().detach().max_dim(D - 1);
    // A shift of 0 keeps the exponentials of a row of −∞ at zero instead of −∞ - −∞.
    let empty = largest.clone().equal_elem(f32::NEG_INFINITY);
    let shifted = x - largest.mask_fill(empty.clone(), 0.0);
    let exponentials = shifted.clone().exp();
    let sum = exponentials.clone().sum_dim(D - 1).mask_fill(empty, 1.0);
    (exponentials, shifted, sum)
}

/// A function of rows whose gradient follows from its result.
#[derive(Clone, Debug)]
struct Softmax {
    /// From `x` and the length of a row to `y`.
    value: fn(&[f32], usize, &mut [f32]),
    /// From `y`, `dy` and the length of a row to `dx`.
    gradient: fn(&[f32], &[f32], usize, &mut [f32]),
}

impl KernelOp<1> for Softmax {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> Vec<FlexTensor> {
        let x = contiguous(x);
        vec![new_like(&x, |y| (self.value)(elements(&x), width(&x), y))]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 1]) -> (Vec<FlexTensor>, FlexTensor) {
        let outputs = self.forward(inputs);
        let y = outputs[0].clone();
        (outputs, y)
    }

    fn backward(&self, y: FlexTensor, upstream: Upstream<1>) -> [Option<FlexTensor>; 1] {
        let dy = contiguous(upstream.gradient);
        let dx = new_like(&y, |dx| (self.gradient)(elements(&y), elements(&dy), width(&y), dx));
        [y, dy].into_iter().for_each(recycle);
        [Some(dx)]
    }
}

/// The length of a row.
fn width(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

//! Gated activations: `f(gate) · up`, element by element. Shazeer 2020, arXiv:2002.05202.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::{Tensor, activation};
use headwise_kernels::activation as kernels;

use crate::buffers::{recycle, take};
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `silu(gate) · up`; both have the same shape.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    check(&gate, &up);
    if !kernels_serve(&gate) {
        return activation::silu(gate) * up;
    }
    let swiglu = Gated { value: kernels::swiglu, gradients: kernels::swiglu_backward };
    output(swiglu, [gate.into_dispatch(), up.into_dispatch()])
}

/// `gelu(gate) · up` with the `tanh` form of GELU; both have the same shape.
pub fn geglu_tanh<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    check(&gate, &up);
    if !kernels_serve(&gate) {
        return activation::gelu_approximate(gate) * up;
    }
    let geglu = Gated { value: kernels::geglu_tanh, gradients: kernels::geglu_tanh_backward };
    output(geglu, [gate.into_dispatch(), up.into_dispatch()])
}

fn check<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>) {
    assert_eq!(gate.dims(), up.dims(), "gate and up have the same shape");
}

/// A function `y = f(gate) · up` and its gradients.
#[derive(Clone, Debug)]
struct Gated {
    /// From `gate` and `up` to `y`.
    value: fn(&[f32], &[f32], &mut [f32]),
    gradients: Gradients,
}

/// From `gate`, `up` and `dy` to `d_gate` and `d_up`.
type Gradients = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

impl KernelOp<2> for Gated {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2]) -> Vec<FlexTensor> {
        let [gate, up] = inputs.map(contiguous);
        vec![new_like(&gate, |y| (self.value)(elements(&gate), elements(&up), y))]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 2]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let inputs = inputs.map(contiguous);
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, [gate, up]: [FlexTensor; 2], upstream: Upstream<2>) -> [Option<FlexTensor>; 2] {
        let dy = contiguous(upstream.gradient);
        let mut d_up = take(elements(&up).len());
        let d_gate = new_like(&gate, |d_gate| {
            (self.gradients)(elements(&gate), elements(&up), elements(&dy), d_gate, &mut d_up);
        });
        let d_up = own(d_up, up.shape());
        [gate, up, dy].into_iter().for_each(recycle);
        [d_gate, d_up].map(Some)
    }
}

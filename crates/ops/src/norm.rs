//! RMSNorm and LayerNorm by their kernels, and the gradients that every operation with a norm in it shares.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use headwise_kernels::norm as kernels;

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream};

/// Which norm: LayerNorm if `centred`, otherwise RMSNorm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub centred: bool,
    pub epsilon: f32,
}

impl Norm {
    /// The gradients of `x`, the weight and the bias (zero if the norm has none), from that of the result.
    pub fn gradients(self, x: FlexTensor, weight: &FlexTensor, d_y: FlexTensor) -> [FlexTensor; 3] {
        let d_y = contiguous(d_y);
        let mut d_weight = vec![0.0; elements(weight).len()];
        let mut d_bias = d_weight.clone();
        let d_x = new_like(&x, |d_x| {
            let (x, weight, d_y) = (elements(&x), elements(weight), elements(&d_y));
            if self.centred {
                let d_bias = Some(&mut d_bias[..]);
                kernels::layer_norm_backward(x, weight, self.epsilon, d_y, d_x, &mut d_weight, d_bias);
            } else {
                kernels::rms_norm_backward(x, weight, self.epsilon, d_y, d_x, &mut d_weight);
            }
        });
        [x, d_y].into_iter().for_each(recycle);
        [d_x, own(d_weight, weight.shape()), own(d_bias, weight.shape())]
    }
}

/// The inputs are `x`, the weight and, if `N` is 3, the bias.
impl<const N: usize> KernelOp<N> for Norm {
    /// `x` and the weight.
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let inputs = inputs.map(contiguous);
        let (x, weight, bias) = (&inputs[0], elements(&inputs[1]), inputs.get(2).map(elements));
        vec![new_like(x, |y| {
            if self.centred {
                kernels::layer_norm(elements(x), weight, bias, self.epsilon, y);
            } else {
                kernels::rms_norm(elements(x), weight, self.epsilon, y);
            }
        })]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let inputs = inputs.map(contiguous);
        let saved = [inputs[0].clone(), inputs[1].clone()];
        (self.forward(inputs), saved)
    }

    fn backward(&self, [x, weight]: [FlexTensor; 2], upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let mut gradients = self.gradients(x, &weight, upstream.gradient).into_iter();
        std::array::from_fn(|_| gradients.next())
    }
}

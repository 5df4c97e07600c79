//! RMSNorm: `y = x / √(mean(x²) + ε) · weight` over the last dimension. Zhang and Sennrich 2019, arXiv:1910.07467.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::norm as kernels;

use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `x / √(mean(x²) + epsilon) · weight` over the last dimension; `weight` `[dim]`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f32) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "a weight for each channel");
    if !kernels_serve(&x) {
        let mean = x.clone().square().mean_dim(D - 1);
        return x / (mean + epsilon).sqrt() * weight.unsqueeze();
    }
    output(RmsNorm { epsilon }, [x.into_dispatch(), weight.into_dispatch()])
}

#[derive(Clone, Debug)]
struct RmsNorm {
    epsilon: f32,
}

impl KernelOp<2> for RmsNorm {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2]) -> Vec<FlexTensor> {
        let [x, weight] = inputs.map(contiguous);
        vec![new_like(&x, |y| kernels::rms_norm(elements(&x), elements(&weight), self.epsilon, y))]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 2]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let inputs = inputs.map(contiguous);
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, [x, weight]: [FlexTensor; 2], upstream: Upstream<2>) -> [Option<FlexTensor>; 2] {
        let dy = contiguous(upstream.gradient);
        let mut d_weight = vec![0.0; elements(&weight).len()];
        let d_x = new_like(&x, |d_x| {
            kernels::rms_norm_backward(
                elements(&x),
                elements(&weight),
                self.epsilon,
                elements(&dy),
                d_x,
                &mut d_weight,
            );
        });
        [d_x, own(d_weight, weight.shape())].map(Some)
    }
}

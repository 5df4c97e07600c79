//! LayerNorm: `y = (x - mean(x)) / √(var(x) + ε) · weight + bias` over the last dimension, with the variance over `dim`
//! values, not `dim - 1`. Ba, Kiros and Hinton 2016, arXiv:1607.06450.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::norm as kernels;

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `(x - mean(x)) / √(var(x) + epsilon) · weight + bias` over the last dimension; `weight` and `bias` `[dim]`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f32) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "a weight for each channel");
    if !kernels_serve(&x) {
        return composed(x, weight, bias, epsilon);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    match bias {
        Some(bias) => output(LayerNorm { epsilon }, [x, weight, bias.into_dispatch()]),
        None => output(LayerNorm { epsilon }, [x, weight]),
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

#[derive(Clone, Debug)]
struct LayerNorm {
    epsilon: f32,
}

/// The inputs are `x`, `weight` and, if `N` is 3, `bias`.
impl<const N: usize> KernelOp<N> for LayerNorm {
    type Saved = [FlexTensor; N];

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let inputs = inputs.map(contiguous);
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        vec![new_like(x, |y| {
            kernels::layer_norm(elements(x), elements(weight), bias.map(elements), self.epsilon, y);
        })]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, [FlexTensor; N]) {
        let inputs = inputs.map(contiguous);
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, inputs: [FlexTensor; N], upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let (x, weight, dy) = (&inputs[0], &inputs[1], contiguous(upstream.gradient));
        let mut d_weight = vec![0.0; elements(weight).len()];
        let mut d_bias = vec![0.0; d_weight.len()];
        let d_x = new_like(x, |d_x| {
            let (x, weight, dy) = (elements(x), elements(weight), elements(&dy));
            kernels::layer_norm_backward(x, weight, self.epsilon, dy, d_x, &mut d_weight, Some(&mut d_bias));
        });
        let shape = weight.shape();
        inputs.into_iter().chain([dy]).for_each(recycle);
        let mut gradients = [d_x, own(d_weight, shape.clone()), own(d_bias, shape)].into_iter();
        std::array::from_fn(|_| gradients.next())
    }
}

//! A residual connection and the norm after it in one pass: `sum = x + residual`, `y = norm(sum)`.
//!
//! Two operations are recorded: the addition, whose forward pass computes the norm too, and the norm of its result, which is
//! there already. So the gradient of the sum is gathered from all its uses before it goes on to both summands.

use burn::backend::{DispatchTensor, TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::norm as kernels;

use crate::buffers::take;
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output, outputs};
use crate::norm::Norm;
use crate::{layer_norm, rms_norm};

/// `sum = x + residual` and its [`rms_norm`]; `weight` `[dim]`.
pub fn add_rms_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f32,
) -> (Tensor<D>, Tensor<D>) {
    check(&x, &residual, &weight);
    if !kernels_serve(&x) {
        let sum = x + residual;
        return (sum.clone(), rms_norm(sum, weight, epsilon));
    }
    let norm = Norm { centred: false, epsilon };
    let inputs = [x.into_dispatch(), residual.into_dispatch(), weight.clone().into_dispatch()];
    let (sum, y) = pair(outputs(AddNorm(norm), inputs));
    let inputs = [sum.clone().into_dispatch(), weight.into_dispatch(), y.into_dispatch()];
    (sum, output(NormOfSum(norm), inputs))
}

/// `sum = x + residual` and its [`layer_norm`]; `weight` and `bias` `[dim]`.
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f32,
) -> (Tensor<D>, Tensor<D>) {
    check(&x, &residual, &weight);
    if !kernels_serve(&x) {
        let sum = x + residual;
        return (sum.clone(), layer_norm(sum, weight, bias, epsilon));
    }
    let norm = Norm { centred: true, epsilon };
    let inputs = [x.into_dispatch(), residual.into_dispatch(), weight.clone().into_dispatch()];
    match bias.map(Tensor::into_dispatch) {
        Some(bias) => {
            let [x, residual, scale] = inputs;
            let (sum, y) = pair(outputs(AddNorm(norm), [x, residual, scale, bias.clone()]));
            let inputs = [sum.clone().into_dispatch(), weight.into_dispatch(), y.into_dispatch(), bias];
            (sum, output(NormOfSum(norm), inputs))
        }
        None => {
            let (sum, y) = pair(outputs(AddNorm(norm), inputs));
            let inputs = [sum.clone().into_dispatch(), weight.into_dispatch(), y.into_dispatch()];
            (sum, output(NormOfSum(norm), inputs))
        }
    }
}

fn check<const D: usize>(x: &Tensor<D>, residual: &Tensor<D>, weight: &Tensor<1>) {
    assert_eq!(x.dims(), residual.dims(), "x and the residual have the same shape");
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "a weight for each channel");
}

/// The results of [`AddNorm`]: the sum, and its norm cut off from the graph.
fn pair<const D: usize>(outputs: Vec<DispatchTensor>) -> (Tensor<D>, Tensor<D>) {
    let mut outputs = outputs.into_iter().map(Tensor::from_dispatch);
    let mut next = || outputs.next().expect("a sum and its norm");
    (next(), next().detach())
}

/// From `x`, the residual, the weight and, if `N` is 4, the bias to the sum and its norm; the gradient is that of the sum.
#[derive(Clone, Debug)]
struct AddNorm(Norm);

impl<const N: usize> KernelOp<N> for AddNorm {
    type Saved = ();

    fn outputs(&self) -> usize {
        2
    }

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let Norm { centred, epsilon } = self.0;
        let inputs = inputs.map(contiguous);
        let (x, residual, weight) = (elements(&inputs[0]), elements(&inputs[1]), elements(&inputs[2]));
        let mut sum = take(x.len());
        let y = new_like(&inputs[0], |y| {
            if centred {
                let bias = inputs.get(3).map(elements);
                kernels::add_layer_norm(x, residual, weight, bias, epsilon, &mut sum, y);
            } else {
                kernels::add_rms_norm(x, residual, weight, epsilon, &mut sum, y);
            }
        });
        vec![own(sum, y.shape()), y]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, ()) {
        (self.forward(inputs), ())
    }

    fn backward(&self, (): (), upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        std::array::from_fn(|input| (input < 2).then(|| upstream.gradient.clone()))
    }
}

/// From the sum, the weight, the norm of the sum and, if `N` is 4, the bias to that norm.
#[derive(Clone, Debug)]
struct NormOfSum(Norm);

impl<const N: usize> KernelOp<N> for NormOfSum {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        vec![inputs[2].clone()]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let saved = [inputs[0].clone(), inputs[1].clone()].map(contiguous);
        (self.forward(inputs), saved)
    }

    fn backward(&self, [sum, weight]: [FlexTensor; 2], upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let [d_sum, d_weight, d_bias] = self.0.gradients(sum, &weight, upstream.gradient);
        let mut gradients = [Some(d_sum), Some(d_weight), None, Some(d_bias)].into_iter();
        std::array::from_fn(|_| gradients.next().flatten())
    }
}

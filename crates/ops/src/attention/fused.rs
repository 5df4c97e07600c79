//! Attention by the fused kernel.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::attention::{self as kernels, AttnSpec, Dims, Inputs};

use super::Attended;
use crate::buffers::{recycle, take};
use crate::flex::{contiguous, elements, own, rows_contiguous, view};
use crate::kernel_op::{KernelOp, Upstream, outputs};

pub(super) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    spec: &AttnSpec,
    dims: Dims,
) -> Attended {
    let operation = Attention { spec: spec.clone(), dims };
    let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
    let mut outputs = match bias {
        Some(bias) => {
            // The kernel broadcasts every dimension but the keys.
            let [batches, heads, queries, _] = bias.dims();
            let bias = bias.expand([batches, heads, queries, dims.keys]);
            outputs(operation, [query, key, value, bias.into_dispatch()])
        }
        None => outputs(operation, [query, key, value]),
    };
    let lse = Tensor::from_dispatch(outputs.remove(LSE));
    let output = Tensor::from_dispatch(outputs.remove(OUTPUT));
    Attended { output, lse, entropy: None, col_sum: None }
}

/// Places of the outputs.
const OUTPUT: usize = 0;
const LSE: usize = 1;

#[derive(Clone, Debug)]
struct Attention {
    spec: AttnSpec,
    dims: Dims,
}

/// What the gradient needs: the inputs, the output and the log-sum-exp.
#[derive(Clone, Debug)]
struct Saved<const N: usize> {
    inputs: [FlexTensor; N],
    output: FlexTensor,
    lse: FlexTensor,
}

/// The inputs are query, key, value and, if `N` is 4, bias.
impl<const N: usize> KernelOp<N> for Attention {
    type Saved = Saved<N>;

    fn outputs(&self) -> usize {
        2
    }

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let dims = &self.dims;
        let inputs = inputs.map(rows_contiguous);
        let [mut output, mut lse] = [dims.output(), dims.lse()].map(take);
        kernels::forward(&self.spec, dims, &views(&inputs), &mut output, &mut lse);
        let output = own(output, [dims.batch, dims.heads, dims.queries, dims.value_dim]);
        vec![output, own(lse, [dims.batch, dims.heads, dims.queries])]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, Saved<N>) {
        let inputs = inputs.map(rows_contiguous);
        let outputs = self.forward(inputs.clone());
        let saved = Saved { inputs, output: outputs[OUTPUT].clone(), lse: outputs[LSE].clone() };
        (outputs, saved)
    }

    fn backward(&self, saved: Saved<N>, upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let dims = &self.dims;
        let bias_wanted = upstream.wanted.get(BIAS) == Some(&true);
        let mut inputs = saved.inputs;
        if let Some(bias) = inputs.get_mut(BIAS).filter(|_| bias_wanted) {
            // The gradient of a bias that repeats elements as a view has an element for each repetition.
            *bias = contiguous(bias.clone());
        }
        let by_output = upstream.output == OUTPUT;
        let (d_output, d_lse) = if by_output {
            (rows_contiguous(upstream.gradient), None)
        } else {
            (own(vec![0.0; dims.value_dim], [1, 1, 1, dims.value_dim]), Some(contiguous(upstream.gradient)))
        };
        let upstream = kernels::Upstream {
            out: elements(&saved.output),
            lse: elements(&saved.lse),
            d_out: view(&d_output),
            d_lse: d_lse.as_ref().map(elements),
        };
        let found = kernels::backward(&self.spec, dims, &views(&inputs), &upstream, bias_wanted);
        // The log-sum-exp does not depend on the values.
        let d_value = by_output.then_some(found.value);
        let mut found = [Some(found.query), Some(found.key), d_value, found.bias].into_iter();
        [saved.output, d_output].into_iter().for_each(recycle);
        inputs.map(|input| {
            let gradient = found.next().flatten().map(|gradient| own(gradient, input.shape()));
            recycle(input);
            gradient
        })
    }
}

/// The place of the bias among the inputs.
const BIAS: usize = 3;

fn views<const N: usize>(inputs: &[FlexTensor; N]) -> Inputs<'_> {
    Inputs { query: view(&inputs[0]), key: view(&inputs[1]), value: view(&inputs[2]), bias: inputs.get(BIAS).map(view) }
}

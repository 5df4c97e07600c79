//! Attention by the fused kernel.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::attention::{self as kernels, AttnSpec, Dims, InputGradients, Inputs, View4Mut};

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
    let lse = spec.want.lse.then(|| Tensor::from_dispatch(outputs.remove(LSE)));
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
        // An output that nobody uses keeps what it saved.
        if self.spec.want.lse { 2 } else { 1 }
    }

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, Saved<N>) {
        let dims = &self.dims;
        let inputs = inputs.map(rows_contiguous);
        let mut lse = take(dims.lse());
        // The heads of a row side by side, as the next projection takes them.
        let mut output = Fresh::new([dims.batch, dims.heads, dims.queries, dims.value_dim], true);
        kernels::forward(&self.spec, dims, &views(&inputs), output.view(), &mut lse);
        let output = output.into_tensor();
        let lse = own(lse, [dims.batch, dims.heads, dims.queries]);
        let mut outputs = vec![output.clone(), lse.clone()];
        outputs.truncate(KernelOp::<N>::outputs(self));
        (outputs, Saved { inputs, output, lse })
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
            out: view(&saved.output),
            lse: elements(&saved.lse),
            d_out: view(&d_output),
            d_lse: d_lse.as_ref().map(elements),
        };
        // As the input has them, its gradient has heads before tokens or after them.
        let [mut query, mut key, mut value] = [0, 1, 2].map(|i| Fresh::like(&inputs[i]));
        let gradients = InputGradients { query: query.view(), key: key.view(), value: value.view() };
        let found = kernels::backward(&self.spec, dims, &views(&inputs), &upstream, gradients, bias_wanted);
        // The log-sum-exp does not depend on the values.
        let d_value = by_output.then(|| value.into_tensor());
        let d_bias = found.bias.map(|gradient| own(gradient, inputs[BIAS].shape()));
        let mut found = [Some(query.into_tensor()), Some(key.into_tensor()), d_value, d_bias].into_iter();
        [saved.output, saved.lse, d_output].into_iter().chain(inputs).for_each(recycle);
        [(); N].map(|()| found.next().flatten())
    }
}

/// A tensor `[batch, heads, tokens, width]` that a kernel writes.
struct Fresh {
    data: Vec<f32>,
    shape: [usize; 4],
    /// Whether the heads of a token are side by side in memory, as a projection has them.
    by_token: bool,
}

impl Fresh {
    fn new(shape: [usize; 4], by_token: bool) -> Self {
        Self { data: take(shape.iter().product()), shape, by_token }
    }

    /// In the shape and order of `tensor`.
    fn like(tensor: &FlexTensor) -> Self {
        let strides = tensor.layout().strides();
        Self::new(tensor.shape().dims(), strides[1] < strides[2])
    }

    fn view(&mut self) -> View4Mut<'_> {
        let [_, heads, tokens, width] = self.shape;
        let view = if self.by_token { View4Mut::tokens_first } else { View4Mut::heads_first };
        view(&mut self.data, heads, tokens, width)
    }

    fn into_tensor(self) -> FlexTensor {
        let [batch, heads, tokens, width] = self.shape;
        if self.by_token {
            own(self.data, [batch, tokens, heads, width]).transpose(1, 2)
        } else {
            own(self.data, self.shape)
        }
    }
}

/// The place of the bias among the inputs.
const BIAS: usize = 3;

fn views<const N: usize>(inputs: &[FlexTensor; N]) -> Inputs<'_> {
    Inputs { query: view(&inputs[0]), key: view(&inputs[1]), value: view(&inputs[2]), bias: inputs.get(BIAS).map(view) }
}

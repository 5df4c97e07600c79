//! Attention of packed texts by the fused kernel.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use headwise_kernels::attention::{self as kernels, AttnSpec, Dims, Inputs, PackedGradients, PackedUpstream};

use crate::buffers::{recycle, take};
use crate::flex::{elements, own, rows_contiguous, view};
use crate::kernel_op::{KernelOp, Upstream, output};

pub(super) fn attention(inputs: [Tensor<4>; 3], offsets: &[usize], spec: &AttnSpec, dims: Dims) -> Tensor<4> {
    let operation = Packed { spec: spec.clone(), dims, offsets: offsets.to_vec() };
    output(operation, inputs.map(Tensor::into_dispatch))
}

#[derive(Clone, Debug)]
struct Packed {
    spec: AttnSpec,
    dims: Dims,
    offsets: Vec<usize>,
}

/// What the gradient needs: the inputs, the output with the heads of a token side by side, and the log-sum-exp.
#[derive(Clone, Debug)]
struct Saved {
    inputs: [FlexTensor; 3],
    output: FlexTensor,
    lse: FlexTensor,
}

/// `[batch, tokens, heads, width]` with the heads before the tokens.
fn by_head(tensor: FlexTensor) -> FlexTensor {
    tensor.transpose(1, 2)
}

fn views(inputs: &[FlexTensor; 3]) -> Inputs<'_> {
    let [query, key, value] = inputs.each_ref().map(view);
    Inputs { query, key, value, bias: None }
}

impl KernelOp<3> for Packed {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 3]) -> Vec<FlexTensor> {
        self.forward_saving(inputs).0
    }

    fn forward_saving(&self, inputs: [FlexTensor; 3]) -> (Vec<FlexTensor>, Saved) {
        let (dims, inputs) = (&self.dims, inputs.map(rows_contiguous));
        let (mut out, mut lse) = (take(dims.output()), take(dims.lse()));
        kernels::forward_packed(&self.spec, dims, &views(&inputs), &self.offsets, &mut out, &mut lse);
        let output = own(out, [dims.batch, dims.queries, dims.heads, dims.value_dim]);
        let lse = own(lse, [dims.lse()]);
        (vec![by_head(output.clone())], Saved { inputs, output, lse })
    }

    fn backward(&self, saved: Saved, upstream: Upstream<3>) -> [Option<FlexTensor>; 3] {
        let (dims, d_output) = (&self.dims, rows_contiguous(upstream.gradient));
        let shape = |heads, width| [dims.batch, dims.keys, heads, width];
        let shapes = [
            shape(dims.heads, dims.head_dim),
            shape(dims.kv_heads, dims.head_dim),
            shape(dims.kv_heads, dims.value_dim),
        ];
        let [mut query, mut key, mut value] = shapes.map(|shape| take(shape.iter().product()));
        let of_output =
            PackedUpstream { out: elements(&saved.output), lse: elements(&saved.lse), d_out: view(&d_output) };
        let gradients = PackedGradients { query: &mut query, key: &mut key, value: &mut value };
        kernels::backward_packed(&self.spec, dims, &views(&saved.inputs), &self.offsets, &of_output, gradients);
        [saved.output, saved.lse, d_output].into_iter().chain(saved.inputs).for_each(recycle);
        let mut found = [query, key, value].into_iter().zip(shapes).map(|(data, shape)| by_head(own(data, shape)));
        [(); 3].map(|()| found.next())
    }
}

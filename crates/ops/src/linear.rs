//! A linear layer: `y = x W + b` with `W` `[inputs, outputs]`.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::gemm::{Matrix, Plus, column_sums, gemm};

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `x W + bias` for `x` `[.., inputs]`, `weight` `[inputs, outputs]` and `bias` `[outputs]`; gives `[.., outputs]`.
///
/// # Panics
/// If the sizes do not fit each other.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let [inputs, outputs] = weight.dims();
    assert_eq!(x.dims()[D - 1], inputs, "an input for each row of the weight [{inputs}, {outputs}]");
    assert!(bias.as_ref().is_none_or(|bias| bias.dims() == [outputs]), "a bias for each of {outputs} outputs");
    if !kernels_serve(&x) {
        let y = x.matmul(weight.unsqueeze());
        return match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        };
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    match bias {
        Some(bias) => output(Linear, [x, weight, bias.into_dispatch()]),
        None => output(Linear, [x, weight]),
    }
}

#[derive(Clone, Debug)]
struct Linear;

/// The inputs are `x`, `weight` and, if `N` is 3, `bias`.
impl<const N: usize> KernelOp<N> for Linear {
    /// `x` and `weight`.
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let bias = inputs.get(2).cloned().map(contiguous);
        let (x, weight) = (contiguous(inputs[0].clone()), matrix_contiguous(inputs[1].clone()));
        let weight = matrix(&weight);
        let plus = bias.as_ref().map_or(Plus::Nothing, |bias| Plus::Bias(elements(bias)));
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        shape[last] = weight.columns();
        vec![new(shape, |y| gemm(rows(&x, weight.rows()), weight, plus, y))]
    }

    fn forward_saving(&self, mut inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        inputs[0] = contiguous(inputs[0].clone());
        inputs[1] = matrix_contiguous(inputs[1].clone());
        let saved = [inputs[0].clone(), inputs[1].clone()];
        (self.forward(inputs), saved)
    }

    fn backward(&self, [x, weight]: [FlexTensor; 2], upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let gradient = contiguous(upstream.gradient);
        let (shape, weight) = (weight.shape(), matrix(&weight));
        let dy = rows(&gradient, weight.columns());
        let gradients = std::array::from_fn(|input| {
            upstream.wanted[input].then(|| match input {
                0 => new(x.shape(), |dx| gemm(dy, weight.transpose(), Plus::Nothing, dx)),
                1 => {
                    let x = rows(&x, weight.rows()).transpose();
                    new(shape.clone(), |d_weight| gemm(x, dy, Plus::Nothing, d_weight))
                }
                _ => new([weight.columns()], |d_bias| column_sums(dy, d_bias)),
            })
        });
        [x, gradient].into_iter().for_each(recycle);
        gradients
    }
}

/// All but the last dimension of a contiguous tensor as rows of `width`.
fn rows(tensor: &FlexTensor, width: usize) -> Matrix<'_> {
    let values = elements(tensor);
    Matrix::new(values, values.len().checked_div(width).unwrap_or(0), width)
}

/// A matrix without gaps, row by row or column by column; mostly as it is.
pub(crate) fn matrix_contiguous(tensor: FlexTensor) -> FlexTensor {
    if is_transposed(&tensor) { tensor } else { contiguous(tensor) }
}

/// Whether the elements lie column by column, as those of a transposed matrix do.
pub(crate) fn is_transposed(tensor: &FlexTensor) -> bool {
    let rows = isize::try_from(tensor.shape()[0]).unwrap_or(isize::MAX);
    *tensor.layout().strides() == [1, rows] && !tensor.is_contiguous()
}

/// A [`matrix_contiguous`] tensor.
pub(crate) fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let (rows, columns) = (tensor.shape()[0], tensor.shape()[1]);
    if is_transposed(tensor) {
        let start = tensor.layout().start_offset();
        Matrix::new(&tensor.storage()[start..start + rows * columns], columns, rows).transpose()
    } else {
        Matrix::new(elements(tensor), rows, columns)
    }
}

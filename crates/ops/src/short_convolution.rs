//! Short causal depthwise convolution followed by SiLU.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::convolution::{self as kernels, Sizes};

use crate::activation::silu;
use crate::buffers::recycle;
use crate::flex::{contiguous, elements, new_like, own};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};
use crate::offsets;

/// `y_t = silu(Σ_j w_j ⊙ x_{t-width+1+j})` for `x` `[batch, tokens, channels]` and `weight` `[channels, width]`, whose last column is that
/// of the token itself. Sequences start at `offsets` `[0, …, tokens]`; tokens before a sequence's start count as zero.
///
/// # Panics
/// If the channels differ, the weight is empty, or the offsets do not ascend from 0 to the number of tokens.
pub fn short_convolution(x: Tensor<3>, weight: Tensor<2>, offsets: &[usize]) -> Tensor<3> {
    let ([batch, tokens, channels], [of_weight, width]) = (x.dims(), weight.dims());
    assert_eq!(channels, of_weight, "weight: [channels, width]");
    assert!(width > 0, "a width of at least 1");
    offsets::check(offsets, tokens);
    if !kernels_serve(&x) {
        return composed(x, weight, offsets);
    }
    // The texts of the batch lie one after the other.
    let ends = (0..batch).flat_map(|text| offsets[1..].iter().map(move |end| text * tokens + end));
    let fused = ShortConvolution { channels, width, offsets: std::iter::once(0).chain(ends).collect() };
    output(fused, [x.into_dispatch(), weight.into_dispatch()])
}

/// A sum of shifted copies.
fn composed(x: Tensor<3>, weight: Tensor<2>, offsets: &[usize]) -> Tensor<3> {
    let ([batch, _, channels], [_, width]) = (x.dims(), weight.dims());
    let convolve = |ends: &[usize]| {
        let tokens = ends[1] - ends[0];
        let own = x.clone().narrow(1, ends[0], tokens);
        let shifted = |tap: usize| {
            let later = (width - 1 - tap).min(tokens);
            let zeros = Tensor::zeros([batch, later, channels], (&x.device(), x.dtype()));
            let moved = match later {
                0 => own.clone(),
                later if later == tokens => zeros,
                later => Tensor::cat(vec![zeros, own.clone().narrow(1, 0, tokens - later)], 1),
            };
            moved * weight.clone().narrow(1, tap, 1).reshape([1, 1, channels])
        };
        (1..width).fold(shifted(0), |total, tap| total + shifted(tap))
    };
    let sequences = offsets.windows(2).filter(|ends| ends[0] < ends[1]);
    let convolved: Vec<Tensor<3>> = sequences.map(convolve).collect();
    if convolved.is_empty() { x } else { silu(Tensor::cat(convolved, 1)) }
}

#[derive(Clone, Debug)]
struct ShortConvolution {
    channels: usize,
    width: usize,
    /// Of the rows of the whole batch.
    offsets: Vec<usize>,
}

impl ShortConvolution {
    fn sizes(&self) -> Sizes<'_> {
        Sizes { channels: self.channels, width: self.width, offsets: &self.offsets }
    }
}

impl KernelOp<2> for ShortConvolution {
    type Saved = [FlexTensor; 2];

    fn forward(&self, inputs: [FlexTensor; 2]) -> Vec<FlexTensor> {
        let [x, weight] = inputs.map(contiguous);
        vec![new_like(&x, |y| kernels::forward(&self.sizes(), elements(&x), elements(&weight), y))]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 2]) -> (Vec<FlexTensor>, [FlexTensor; 2]) {
        let inputs = inputs.map(contiguous);
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, [x, weight]: [FlexTensor; 2], upstream: Upstream<2>) -> [Option<FlexTensor>; 2] {
        let dy = contiguous(upstream.gradient);
        let mut d_weight = vec![0.0; elements(&weight).len()];
        let d_x = new_like(&x, |d_x| {
            kernels::backward(&self.sizes(), elements(&x), elements(&weight), elements(&dy), d_x, &mut d_weight);
        });
        [x, dy].into_iter().for_each(recycle);
        [d_x, own(d_weight, weight.shape())].map(Some)
    }
}

//! Dropout: each value becomes 0 with probability `p` and is otherwise divided by `1 - p`. Srivastava et al. 2014, Journal of
//! Machine Learning Research 15.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use headwise_kernels::dropout as kernels;

use crate::flex::{contiguous, elements, new_like};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// `x` with values dropped with probability `p`, below 1, and the others divided by `1 - p`.
///
/// Which values stay follows from `seed` and their place in `x`, on every backend: a step that is repeated drops the same, and
/// every use of dropout in a step needs a seed of its own.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, seed: u64) -> Tensor<D> {
    assert!((0.0..1.0).contains(&p), "a probability of {p} is not in 0..1");
    if !kernels_serve(&x) {
        let mut mask = vec![0.0; x.shape().num_elements()];
        kernels::dropout(&vec![1.0; mask.len()], p, seed, &mut mask);
        let mask = TensorData::new(mask, x.shape());
        return x.clone() * Tensor::from_data(mask, (&x.device(), x.dtype()));
    }
    output(Dropout { p, seed }, [x.into_dispatch()])
}

#[derive(Clone, Debug)]
struct Dropout {
    p: f64,
    seed: u64,
}

impl KernelOp<1> for Dropout {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1]) -> Vec<FlexTensor> {
        vec![self.dropped(x)]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 1]) -> (Vec<FlexTensor>, ()) {
        (self.forward(inputs), ())
    }

    /// The same values are dropped from the gradient.
    fn backward(&self, (): (), upstream: Upstream<1>) -> [Option<FlexTensor>; 1] {
        [Some(self.dropped(upstream.gradient))]
    }
}

impl Dropout {
    fn dropped(&self, x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        new_like(&x, |y| kernels::dropout(elements(&x), self.p, self.seed, y))
    }
}

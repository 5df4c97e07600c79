//! Short convolutions: the kernels against the composed form.

use crate::check::{check, check_half, values};
use burn::tensor::{DType, Tensor};
use headwise_ops::short_convolution;
use proptest::prelude::*;

/// Sizes of one case.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    tokens: usize,
    channels: usize,
    width: usize,
    offsets: Vec<usize>,
    /// The channels of a token lie apart, as in a transposed view.
    transposed: bool,
}

impl Case {
    fn inputs(&self, seed: u64) -> [Vec<f64>; 2] {
        let Self { batch, tokens, channels, width, .. } = *self;
        [values(seed, batch * tokens * channels, 2.0), values(seed ^ 1, channels * width, 1.0)]
    }

    fn run(&self, inputs: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        let Self { batch, tokens, channels, width, .. } = *self;
        let [x, weight] = <[_; 2]>::try_from(inputs).expect("two inputs");
        let x = match self.transposed {
            true => x.reshape([batch, channels, tokens]).swap_dims(1, 2),
            false => x.reshape([batch, tokens, channels]),
        };
        let y = short_convolution(x, weight.reshape([channels, width]), &self.offsets);
        // A transposed result makes the gradient that comes back a strided view.
        vec![y.swap_dims(1, 2).reshape([-1])]
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..3, 1usize..40, 1usize..20, 1usize..5);
    let cuts = prop::collection::vec(0.0f64..1.0, 0..4);
    (sizes, cuts, any::<bool>()).prop_map(|((batch, tokens, channels, width), cuts, transposed)| {
        let mut offsets: Vec<usize> = cuts.iter().map(|cut| (cut * tokens as f64) as usize).collect();
        offsets.extend([0, tokens]);
        offsets.sort_unstable();
        Case { batch, tokens, channels, width, offsets, transposed }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn convolutions(seed: u64, case in cases()) {
        check(&|inputs| case.run(inputs), &case.inputs(seed));
    }
}

#[test]
fn halves_are_composed() {
    let case = Case { batch: 2, tokens: 9, channels: 5, width: 3, offsets: vec![0, 1, 9], transposed: true };
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 6e-2)] {
        check_half(&|inputs| case.run(inputs), &case.inputs(5), dtype, tolerance);
    }
}

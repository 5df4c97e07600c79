//! Rotary encoding: kernels against the composed form.

use crate::check::{check, check_half, values};
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};
use headwise_ops::rope;
use proptest::prelude::*;

/// `[batch, heads, tokens, width]` of a flat tensor, with heads or tokens outside in memory.
fn split(x: Tensor<1>, shape: [usize; 4], by_token: bool) -> Tensor<4> {
    let [batch, heads, tokens, width] = shape;
    if by_token { x.reshape([batch, tokens, heads, width]).swap_dims(1, 2) } else { x.reshape(shape) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn rotates(
        seed: u64, batch in 1usize..3, heads in 1usize..4, tokens in 1usize..6, pairs in 1usize..20, still in 0usize..5,
        interleaved: bool, by_token: bool, flat_by_token: bool, factor in prop::sample::select(vec![1.0f32, 1.25]),
    ) {
        let embedding = Rope::new(inverse_frequencies(2 * pairs, 10_000.0, Scaling::None), factor, interleaved);
        let shape = [batch, heads, tokens, 2 * pairs + still];
        let positions: Vec<i32> = values(seed, tokens, 300.0).into_iter().map(|position| position as i32).collect();
        let operation = |x: Vec<Tensor<1>>| {
            let y = rope(split(x[0].clone(), shape, by_token), &positions, &embedding);
            // The gradient that comes back has either layout as well.
            vec![if flat_by_token { y.swap_dims(1, 2) } else { y }.reshape([-1])]
        };
        check(&operation, &[values(seed ^ 1, shape.iter().product(), 2.0)]);
    }
}

#[test]
fn a_shared_tensor_is_not_overwritten_and_a_lone_one_is() {
    let embedding = Rope::new(inverse_frequencies(8, 10_000.0, Scaling::None), 1.0, false);
    let data = TensorData::new(values(3, 2 * 3 * 8, 1.0), [1, 3, 2, 8]);
    for device in [Device::flex(), Device::flex().autodiff()] {
        let x = Tensor::<4>::from_data(data.clone(), (&device, DType::F32)).swap_dims(1, 2);
        let before = x.to_data();
        let turned = rope(x.clone(), &[4, 5, 6], &embedding).into_data();
        assert_eq!(x.to_data(), before);
        assert_ne!(turned, before);
        assert_eq!(rope(x, &[4, 5, 6], &embedding).into_data(), turned);
    }
}

#[test]
fn halves_are_composed() {
    let embedding = Rope::new(inverse_frequencies(4, 10_000.0, Scaling::None), 1.0, false);
    let operation =
        |x: Vec<Tensor<1>>| vec![rope(x[0].clone().reshape([1, 2, 3, 5]), &[0, 1, 7], &embedding).reshape([-1])];
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 5e-2)] {
        check_half(&operation, &[values(9, 30, 1.0)], dtype, tolerance);
    }
}

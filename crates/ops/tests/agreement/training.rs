//! The operations together: two blocks of attention and a gated layer learn.

use crate::check::values;
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};
use headwise_ops::{attention, rms_norm, rope, swiglu};

const DIM: usize = 16;
const HEAD_DIM: usize = 8;
const TOKENS: usize = 6;

/// Query, key, value, output, gate, up and down of one block: rows, columns.
const WEIGHTS: [[usize; 2]; 7] = [[DIM, 16], [DIM, 8], [DIM, 8], [16, DIM], [DIM, 24], [DIM, 24], [24, DIM]];

fn block(x: Tensor<3>, weights: &[Tensor<2>], turn: &Rope) -> Tensor<3> {
    let positions: Vec<i32> = (0..TOKENS as i32).collect();
    let batch = x.dims()[0];
    let norm = |x: Tensor<3>| rms_norm(x.clone(), Tensor::ones([DIM], (&x.device(), DType::F32)), 1e-5);
    let project = |x: Tensor<3>, i: usize| x.matmul(weights[i].clone().unsqueeze());
    let heads = |x: Tensor<3>| {
        let heads = x.dims()[2] / HEAD_DIM;
        x.reshape([batch, TOKENS, heads, HEAD_DIM]).swap_dims(1, 2)
    };
    let normed = norm(x.clone());
    let [query, key] = [0, 1].map(|i| rope(heads(project(normed.clone(), i)), &positions, turn));
    let mixed = attention(query, key, heads(project(normed, 2)), None, &AttnSpec::causal(HEAD_DIM)).output;
    let x = x + project(mixed.swap_dims(1, 2).reshape([batch, TOKENS, 16]), 3);
    let normed = norm(x.clone());
    let gated = swiglu(project(normed.clone(), 4), project(normed, 5));
    x + project(gated, 6)
}

#[test]
fn two_blocks_learn() {
    let device = Device::flex().autodiff();
    let turn = Rope::new(inverse_frequencies(HEAD_DIM, 10_000.0, Scaling::None), 1.0, false);
    let tensor = |seed, rows: usize, columns: usize, scale| {
        Tensor::<2>::from_data(
            TensorData::new(values(seed, rows * columns, scale), [rows, columns]),
            (&device, DType::F32),
        )
    };
    let x = tensor(1, 4 * TOKENS, DIM, 1.0).reshape([4, TOKENS, DIM]);
    // The token before: only attention can know it.
    let target = Tensor::cat(vec![x.clone().narrow(1, 0, 1), x.clone().narrow(1, 0, TOKENS - 1)], 1);
    let mut weights: Vec<_> =
        (0..14).map(|i| tensor(10 + i as u64, WEIGHTS[i % 7][0], WEIGHTS[i % 7][1], 0.4).require_grad()).collect();
    let mut losses = Vec::new();
    for _ in 0..150 {
        let y = block(block(x.clone(), &weights[..7], &turn), &weights[7..], &turn);
        let loss = (y - target.clone()).square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = loss.backward();
        for weight in &mut weights {
            let gradient = weight.grad(&gradients).expect("every weight is used");
            *weight = Tensor::from_inner(weight.clone().inner() - gradient * 0.3).require_grad();
        }
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.5 * first, "the loss went from {first} to {last}");
}

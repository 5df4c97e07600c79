//! Softmax attention over queries, keys and values that are convolved first.

mod packed;

use burn::tensor::{Device, Distribution, Tensor};
use headwise_nn::mixer::{MixContext, Softmax, SoftmaxSpec};
use packed::side_by_side;

const DIM: usize = 16;

fn mixer(window: Option<usize>) -> Softmax {
    let spec = SoftmaxSpec { heads: 2, kv_heads: Some(1), window, convolution: Some(3), ..SoftmaxSpec::default() };
    spec.check(DIM).expect("a spec that fits");
    Softmax::random(spec, DIM, 1e-6, &Device::flex())
}

fn input(tokens: usize) -> Tensor<3> {
    Tensor::random([1, tokens, DIM], Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A forward over sequences of these lengths, side by side.
fn forward(mixer: &Softmax, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    side_by_side(lengths, |ctx| mixer.forward(x, ctx))
}

/// The largest difference in each row.
fn differences(a: Tensor<3>, b: Tensor<3>) -> Vec<f32> {
    (a - b).abs().max_dim(2).into_data().try_into_vec().expect("f32")
}

#[test]
fn sequences_side_by_side_equal_each_alone() {
    let mixer = mixer(None);
    for lengths in [[5, 5, 5], [1, 9, 2]] {
        let alone = lengths.map(input);
        let packed = forward(&mixer, Tensor::cat(alone.to_vec(), 1), &lengths);
        let each = alone.into_iter().zip(lengths).map(|(x, length)| forward(&mixer, x, &[length])).collect();
        let found = differences(packed, Tensor::cat(each, 1));
        assert!(found.iter().all(|&row| row < 1e-5), "{lengths:?}: {found:?}");
    }
}

#[test]
fn texts_of_a_batch_without_segments_are_sequences_of_their_own() {
    let mixer = mixer(None);
    let positions: Vec<i32> = (0..6).collect();
    let x = input(12);
    let mut ctx = MixContext::new(&positions, &[]);
    let batch = mixer.forward(x.clone().reshape([2, 6, DIM]), &mut ctx).reshape([1, 12, DIM]);
    let found = differences(batch, forward(&mixer, x, &[6, 6]));
    assert!(found.iter().all(|&row| row < 1e-5), "{found:?}");
}

#[test]
fn a_token_reaches_as_many_later_ones_as_the_convolution_is_wide() {
    // With a window of one, every row attends to itself alone, so what it sees of others comes by the convolution.
    let mixer = mixer(Some(1));
    let x = input(10);
    let changed = Tensor::cat(vec![x.clone().narrow(1, 0, 4), input(1), x.clone().narrow(1, 5, 5)], 1);
    let found = differences(forward(&mixer, x, &[10]), forward(&mixer, changed, &[10]));
    for (row, difference) in found.into_iter().enumerate() {
        assert_eq!(difference > 1e-4, (4..7).contains(&row), "row {row}: {difference}");
    }
}

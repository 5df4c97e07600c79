//! Attention: the kernel against the composed form.

use crate::check::{check, check_half, values};
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_kernels::attention::{AttnSpec, BlockMask, Stats};
use headwise_ops::{Attended, attention, packed_attention};
use proptest::prelude::*;

/// Sizes of one case, and which dimensions of the bias are broadcast; no bias if none.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    kv_heads: usize,
    group: usize,
    queries: usize,
    keys: usize,
    head_dim: usize,
    value_dim: usize,
    bias: Option<[bool; 4]>,
    /// The layout of a projection, `[batch, tokens, heads, width]`.
    by_token: bool,
}

impl Case {
    fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Shapes of query, key, value and bias.
    fn shapes(&self) -> Vec<[usize; 4]> {
        let Self { batch, kv_heads, queries, keys, head_dim, value_dim, .. } = *self;
        let full = [batch, self.heads(), queries, keys];
        let bias = self.bias.map(|once| std::array::from_fn(|i| if once[i] { 1 } else { full[i] }));
        let inputs = [
            [batch, self.heads(), queries, head_dim],
            [batch, kv_heads, keys, head_dim],
            [batch, kv_heads, keys, value_dim],
        ];
        inputs.into_iter().chain(bias).collect()
    }

    fn inputs(&self, seed: u64) -> Vec<Vec<f64>> {
        let shapes = self.shapes().into_iter().enumerate();
        shapes.map(|(i, shape)| values(seed ^ i as u64, shape.iter().product(), 1.5)).collect()
    }

    fn attend(&self, inputs: Vec<Tensor<1>>, spec: &AttnSpec) -> Attended {
        let mut tensors = inputs.into_iter().zip(self.shapes()).enumerate().map(|(i, (x, shape))| {
            let [batch, heads, tokens, width] = shape;
            // A bias stays as it is.
            if self.by_token && i < 3 {
                x.reshape([batch, tokens, heads, width]).swap_dims(1, 2)
            } else {
                x.reshape(shape)
            }
        });
        let mut next = || tensors.next();
        let [query, key, value] = [next(), next(), next()].map(|tensor| tensor.expect("three inputs"));
        attention(query, key, value, next(), spec)
    }
}

const LSE: Stats = Stats { lse: true, entropy: false, col_sum: false };

/// Causal attention that returns its log-sum-exp.
fn causal(head_dim: usize) -> AttnSpec {
    AttnSpec { want: LSE, ..AttnSpec::causal(head_dim) }
}

/// Rows that see nothing have an `lse` of −∞, which no loss can use.
fn finite(lse: Option<Tensor<3>>) -> Tensor<3> {
    let lse = lse.expect("it was asked for");
    let empty = lse.clone().equal_elem(f32::NEG_INFINITY);
    lse.mask_fill(empty, 0.0)
}

prop_compose! {
    fn cases()(
        batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..4, queries in 1usize..9, keys in 1usize..80,
        head_dim in 1usize..20, value_dim in 1usize..20, bias in prop::option::of(any::<[bool; 4]>()), by_token: bool,
    ) -> Case {
        Case { batch, kv_heads, group, queries, keys, head_dim, value_dim, bias, by_token }
    }
}

prop_compose! {
    fn specs(heads: usize)(
        causal: bool, window in prop::option::of(1usize..12), sinks_keep in 0usize..3,
        softcap in prop::option::of(1.0f32..4.0), alibi in prop::option::of(prop::collection::vec(0.0f32..0.5, heads)),
        sink_logits in prop::option::of(prop::collection::vec(-1.0f32..1.0, heads)), scale in 0.2f32..1.0,
        mask in prop::option::of(prop::collection::vec(prop::collection::vec(prop::collection::vec(0usize..2, 0..3), 2), heads)),
    ) -> AttnSpec {
        let [alibi, sink_logits] = [alibi, sink_logits].map(|values| values.map(Into::into));
        let blocks = mask.map(|lists| BlockMask::new(&lists).into());
        AttnSpec { scale, causal, window, sinks_keep, blocks, softcap, alibi, sink_logits, want: LSE }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn output_and_lse(
        seed: u64,
        (case, spec) in cases().prop_flat_map(|case| { let heads = case.heads(); (Just(case), specs(heads)) }),
        both: bool,
    ) {
        let operation = |inputs: Vec<Tensor<1>>| {
            let Attended { output, lse, .. } = case.attend(inputs, &spec);
            // A swapped output makes the gradient that comes back a strided view.
            let mut outputs = vec![output.swap_dims(1, 2).reshape([-1])];
            if both {
                outputs.push(finite(lse).reshape([-1]));
            }
            outputs
        };
        check(&operation, &case.inputs(seed));
    }
}

const SMALL: Case = Case {
    batch: 1,
    kv_heads: 2,
    group: 2,
    queries: 5,
    keys: 3,
    head_dim: 4,
    value_dim: 6,
    bias: None,
    by_token: true,
};

#[test]
fn the_log_sum_exp_alone_has_a_gradient() {
    let case = Case { bias: Some([false; 4]), ..SMALL };
    let operation = |x: Vec<Tensor<1>>| {
        let value = Tensor::<1>::zeros([36], (&x[0].device(), x[0].dtype()));
        let inputs = vec![x[0].clone(), x[1].clone(), value, x[2].clone()];
        vec![finite(case.attend(inputs, &causal(4)).lse).reshape([-1])]
    };
    let mut inputs = case.inputs(3);
    inputs.remove(2);
    check(&operation, &inputs);
}

#[test]
fn query_key_and_value_may_be_parts_of_one_projection() {
    let (batch, tokens, heads, width) = (2, 5, 3, 4);
    let operation = |x: Vec<Tensor<1>>| {
        let projected = x[0].clone().reshape([batch, tokens, 3 * heads, width]);
        let part = |i| projected.clone().narrow(2, i * heads, heads).swap_dims(1, 2);
        let Attended { output, lse, .. } = attention(part(0), part(1), part(2), None, &causal(width));
        vec![output.reshape([-1]), finite(lse).reshape([-1])]
    };
    check(&operation, &[values(17, batch * tokens * 3 * heads * width, 1.0)]);
}

#[test]
fn a_query_that_sees_nothing_gives_zero_without_gradient() {
    // The first two of five queries stand before the first of three keys.
    for dtype in [DType::F32, DType::F64] {
        let device = Device::flex().autodiff();
        let leaves: Vec<_> = SMALL
            .inputs(7)
            .into_iter()
            .map(|x| Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), (&device, dtype)).require_grad())
            .collect();
        let Attended { output, lse, .. } = SMALL.attend(leaves.clone(), &causal(4));
        let numbers = |tensor: Tensor<1>| tensor.into_data().convert::<f32>().try_into_vec::<f32>().unwrap();
        assert!(numbers(output.clone().narrow(2, 0, 2).reshape([-1])).iter().all(|&value| value == 0.0));
        assert!(
            numbers(lse.clone().expect("it was asked for").narrow(2, 0, 2).reshape([-1]))
                .iter()
                .all(|&value| value == f32::NEG_INFINITY)
        );
        let gradients = (output.sum() + finite(lse).sum()).backward();
        let query = leaves[0].grad(&gradients).unwrap().reshape([1, 5, 4, 4]).swap_dims(1, 2);
        assert!(numbers(query.clone().narrow(2, 0, 2).reshape([-1])).iter().all(|&value| value == 0.0), "{dtype:?}");
        for leaf in &leaves {
            assert!(numbers(leaf.grad(&gradients).unwrap()).iter().all(|value| value.is_finite()), "{dtype:?}");
        }
    }
}

#[test]
fn an_expanded_bias_has_the_gradient_of_each_repetition() {
    let case = Case { queries: 3, bias: Some([true, true, false, false]), ..SMALL };
    let operation = |x: Vec<Tensor<1>>| {
        let [query, key, value] = [0, 1, 2].map(|i| x[i].clone().reshape(case.shapes()[i]));
        let bias = x[3].clone().reshape([1, 1, 3, 3]).expand([1, 4, 3, 3]);
        vec![attention(query, key, value, Some(bias), &AttnSpec::full(4)).output.reshape([-1])]
    };
    check(&operation, &case.inputs(11));
}

#[test]
fn a_hidden_key_in_the_bias_has_no_weight() {
    let device = Device::flex();
    let [query, key] = [[1, 1, 2, 4], [1, 1, 3, 4]].map(|shape| Tensor::<4>::ones(shape, (&device, DType::F32)));
    let value = Tensor::<4>::from_data([[[[1.0], [2.0], [30.0]]]], (&device, DType::F32));
    let bias = Tensor::<4>::from_data([[[[0.0, 0.0, f32::NEG_INFINITY]]]], (&device, DType::F32));
    let output = attention(query, key, value, Some(bias), &AttnSpec::full(4)).output;
    assert_eq!(output.into_data().try_into_vec::<f32>().unwrap(), [1.5, 1.5]);
}

#[test]
fn entropy_and_column_sums_are_those_of_the_weights() {
    let case = Case { queries: 3, ..SMALL };
    let want = Stats { entropy: true, col_sum: true, ..Stats::default() };
    let device = Device::flex();
    let inputs = case.inputs(5).into_iter().map(|x| {
        let count = x.len();
        Tensor::<1>::from_data(TensorData::new(x, [count]), (&device, DType::F32))
    });
    let inputs: Vec<_> = inputs.collect();
    // With the identity as values, the output is the weights.
    let identity = |x: &[Tensor<1>]| {
        let eye = Tensor::<2>::eye(3, &device).reshape([1, 1, 3, 3]).expand([1, 2, 3, 3]);
        let [query, key] = [0, 1].map(|i| x[i].clone().reshape(case.shapes()[i]));
        attention(query, key, eye, None, &AttnSpec { want, ..AttnSpec::causal(4) })
    };
    let found = identity(&inputs);
    let weights = found.output.into_data().try_into_vec::<f32>().unwrap();
    let entropy = found.entropy.unwrap().into_data().try_into_vec::<f32>().unwrap();
    let col_sum = found.col_sum.unwrap().into_data().try_into_vec::<f32>().unwrap();
    for (row, entropy) in weights.chunks(3).zip(entropy) {
        let expected: f32 = row.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((entropy - expected).abs() < 1e-5, "{entropy} {expected}");
    }
    for (head, sums) in weights.chunks(9).zip(col_sum.chunks(3)) {
        for (key, sum) in sums.iter().enumerate() {
            let expected: f32 = (0..3).map(|row| head[3 * row + key]).sum();
            assert!((sum - expected).abs() < 1e-5, "{sum} {expected}");
        }
    }
}

#[test]
fn halves_are_composed() {
    let operation = |x: Vec<Tensor<1>>| vec![SMALL.attend(x, &AttnSpec::full(4)).output.reshape([-1])];
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 6e-2)] {
        check_half(&operation, &SMALL.inputs(13), dtype, tolerance);
    }
}

#[test]
#[should_panic(expected = "does not broadcast to [batch, heads, queries, keys] = [1, 4, 5, 3]")]
fn a_bias_of_another_shape_is_named() {
    let device = Device::flex();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    attention(
        zeros([1, 4, 5, 4]),
        zeros([1, 2, 3, 4]),
        zeros([1, 2, 3, 4]),
        Some(zeros([1, 4, 3, 3])),
        &AttnSpec::full(4),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn packed_texts(
        seed: u64, mut case in cases(), causal: bool, window in prop::option::of(1usize..12),
        mut offsets in prop::collection::vec(0usize..80, 0..4),
    ) {
        case = Case { queries: case.keys, bias: None, ..case };
        offsets.iter_mut().for_each(|offset| *offset = (*offset).min(case.keys));
        offsets.extend([0, case.keys]);
        offsets.sort_unstable();
        let spec = AttnSpec { causal, window, ..AttnSpec::causal(case.head_dim) };
        let operation = |inputs: Vec<Tensor<1>>| {
            let mut tensors = inputs.into_iter().zip(case.shapes()).map(|(x, [batch, heads, tokens, width])| {
                match case.by_token {
                    true => x.reshape([batch, tokens, heads, width]).swap_dims(1, 2),
                    false => x.reshape([batch, heads, tokens, width]),
                }
            });
            let [query, key, value] = [(); 3].map(|()| tensors.next().expect("three inputs"));
            vec![packed_attention(query, key, value, &offsets, &spec).swap_dims(1, 2).reshape([-1])]
        };
        check(&operation, &case.inputs(seed));
    }
}

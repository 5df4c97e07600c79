//! `forward` and `backward` over whole tensors.

use std::sync::Arc;

use headwise_kernels::attention::{
    AttnSpec, BlockMask, Dims, InputGradients, Inputs, Upstream, View4, View4Mut, backward, forward,
};
use proptest::prelude::*;

use crate::dense::Problem;
use crate::reference::assert_close;

/// Gradients of everything, `[batch, heads, tokens, width]`.
struct Gradients {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    bias: Option<Vec<f32>>,
    sink_logits: Option<Vec<f32>>,
    slopes: Option<Vec<f32>>,
}

/// Output, log-sum-exp and gradients of the kernels, from tensors in the layout `[batch, tokens, heads, width]` to such
/// tensors, which are returned as `[batch, heads, tokens, width]`.
fn run(problem: &Problem) -> (Vec<f32>, Vec<f32>, Gradients) {
    let dims = &problem.dims;
    let layout = |data: &[f32], heads: usize, tokens: usize, width: usize| {
        Interleaved::new(data, dims.batch, heads, tokens, width)
    };
    let query = layout(&problem.query, dims.heads, dims.queries, dims.head_dim);
    let key = layout(&problem.key, dims.kv_heads, dims.keys, dims.head_dim);
    let value = layout(&problem.value, dims.kv_heads, dims.keys, dims.value_dim);
    let d_out = layout(&problem.d_out, dims.heads, dims.queries, dims.value_dim);
    let bias = problem.bias.as_ref().map(|bias| View4 { data: &bias.data, strides: bias.strides });
    let inputs = Inputs { query: query.view(), key: key.view(), value: value.view(), bias };
    let (mut out, mut lse) = (vec![f32::NAN; dims.output()], vec![f32::NAN; dims.lse()]);
    let turned = View4Mut::tokens_first(&mut out, dims.heads, dims.queries, dims.value_dim);
    let strides = turned.strides;
    forward(&problem.spec, dims, &inputs, turned, &mut lse);
    let upstream = Upstream {
        out: View4 { data: &out, strides },
        lse: &lse,
        d_out: d_out.view(),
        d_lse: problem.d_lse.as_deref(),
    };
    let [mut d_query, mut d_key, mut d_value] =
        [&problem.query, &problem.key, &problem.value].map(|input| vec![f32::NAN; input.len()]);
    let of_inputs = InputGradients {
        query: View4Mut::tokens_first(&mut d_query, dims.heads, dims.queries, dims.head_dim),
        key: View4Mut::tokens_first(&mut d_key, dims.kv_heads, dims.keys, dims.head_dim),
        value: View4Mut::tokens_first(&mut d_value, dims.kv_heads, dims.keys, dims.value_dim),
    };
    let found = backward(&problem.spec, dims, &inputs, &upstream, of_inputs, true);
    let gradients = Gradients {
        query: heads_first(&d_query, dims.heads, dims.queries, dims.head_dim),
        key: heads_first(&d_key, dims.kv_heads, dims.keys, dims.head_dim),
        value: heads_first(&d_value, dims.kv_heads, dims.keys, dims.value_dim),
        bias: found.bias,
        sink_logits: found.sink_logits,
        slopes: found.slopes,
    };
    (heads_first(&out, dims.heads, dims.queries, dims.value_dim), lse, gradients)
}

/// `[batch, tokens, heads, width]` as `[batch, heads, tokens, width]`.
fn heads_first(data: &[f32], heads: usize, tokens: usize, width: usize) -> Vec<f32> {
    let row = |row: usize| (row / (heads * tokens) * tokens + row % tokens) * heads + row / tokens % heads;
    (0..data.len() / width).flat_map(|i| &data[row(i) * width..][..width]).copied().collect()
}

/// A tensor `[batch, heads, tokens, width]` stored as a projection leaves it.
struct Interleaved {
    data: Vec<f32>,
    strides: [usize; 3],
}

impl Interleaved {
    fn new(data: &[f32], batch: usize, heads: usize, tokens: usize, width: usize) -> Self {
        let strides = [tokens * heads * width, width, heads * width];
        let mut stored = vec![f32::NAN; data.len()];
        for (row, from) in data.chunks_exact(width).enumerate() {
            let (b, h, t) = (row / (heads * tokens), row / tokens % heads, row % tokens);
            stored[b * strides[0] + h * strides[1] + t * strides[2]..][..width].copy_from_slice(from);
        }
        assert_eq!(data.len(), batch * heads * tokens * width);
        Self { data: stored, strides }
    }

    fn view(&self) -> View4<'_> {
        View4 { data: &self.data, strides: self.strides }
    }
}

/// Checks the kernels against the dense definition.
fn check(problem: &Problem) {
    let (out, lse, gradients) = run(problem);
    let rows = problem.rows();
    let what = |name: &str| format!("{name} of {:?} {:?}", problem.dims, problem.spec);
    let expected: Vec<f64> = rows.iter().flat_map(|row| row.output.clone()).collect();
    assert_close(&out, &expected, 1e-5, &what("output"));
    assert_close(&lse, &rows.iter().map(|row| row.lse).collect::<Vec<_>>(), 1e-5, &what("lse"));
    let expected = problem.gradients(&rows);
    assert_close(&gradients.query, &expected.query, 1e-4, &what("d_query"));
    assert_close(&gradients.key, &expected.key, 1e-4, &what("d_key"));
    assert_close(&gradients.value, &expected.value, 1e-4, &what("d_value"));
    // Slopes and sink logits collect large terms of all rows, which cancel.
    for (name, actual, expected, tolerance) in [
        ("d_bias", &gradients.bias, &expected.bias, 1e-4),
        ("d_slopes", &gradients.slopes, &expected.slopes, 2e-3),
        ("d_sink_logits", &gradients.sink_logits, &expected.sink_logits, 1e-3),
    ] {
        assert_close(actual.as_deref().unwrap_or(&[]), expected, tolerance, &what(name));
    }
}

fn dims(batch: usize, heads: [usize; 2], tokens: [usize; 2], widths: [usize; 2]) -> Dims {
    Dims {
        batch,
        heads: heads[0],
        kv_heads: heads[1],
        queries: tokens[0],
        keys: tokens[1],
        head_dim: widths[0],
        value_dim: widths[1],
    }
}

fn specs(heads: usize) -> impl Strategy<Value = AttnSpec> {
    let window = prop_oneof![Just(None), (0usize..90).prop_map(Some)];
    (any::<bool>(), window, 0usize..70, any::<bool>(), any::<bool>(), any::<bool>(), masks(heads)).prop_map(
        move |(causal, window, sinks_keep, softcap, alibi, sinks, blocks)| AttnSpec {
            causal,
            window,
            sinks_keep,
            blocks,
            softcap: softcap.then_some(1.5),
            alibi: alibi.then(|| (0..heads).map(|head| 0.3 / (head + 1) as f32).collect()),
            sink_logits: sinks.then(|| (0..heads).map(|head| head as f32 - 1.0).collect()),
            ..AttnSpec::full(16)
        },
    )
}

/// No mask, or three blocks of queries on three blocks of keys: one for all heads, or one for each.
fn masks(heads: usize) -> impl Strategy<Value = Option<Arc<BlockMask>>> {
    let list = proptest::collection::vec(0usize..3, 0..3);
    let lists = move |heads: usize| proptest::collection::vec(proptest::collection::vec(list.clone(), 3), heads);
    let mask = prop_oneof![lists(1), lists(heads)].prop_map(|lists| Some(Arc::new(BlockMask::new(&lists))));
    prop_oneof![Just(None), mask]
}

fn broadcasts() -> impl Strategy<Value = Option<[bool; 3]>> {
    prop_oneof![Just(None), any::<[bool; 3]>().prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definition_with_every_option(
        spec in specs(4),
        kv_heads in prop_oneof![Just(1usize), Just(2), Just(4)],
        (queries, keys) in (1usize..140, 1usize..160),
        widths in prop_oneof![Just([16, 16]), Just([40, 24]), Just([5, 33])],
        broadcast in broadcasts(),
        seed in 0u64..1000,
    ) {
        let problem = Problem::new(spec, dims(2, [4, kv_heads], [queries, keys], widths), broadcast, seed);
        check(&problem);
    }
}

#[test]
fn long_rows_cross_splits() {
    check(&Problem::new(AttnSpec::causal(16), dims(1, [3, 1], [70, 1100], [16, 16]), None, 1));
    check(&Problem::new(
        AttnSpec { window: Some(600), ..AttnSpec::causal(64) },
        dims(1, [1, 1], [700, 700], [64, 64]),
        None,
        2,
    ));
}

#[test]
fn every_width_works() {
    for width in [1, 16, 32, 40, 64, 128, 256] {
        check(&Problem::new(AttnSpec::causal(width), dims(1, [2, 1], [67, 67], [width, width]), None, width as u64));
    }
}

/// The dense gradients are the derivatives of the dense forward pass.
#[test]
fn the_definition_agrees_with_finite_differences() {
    let spec = AttnSpec {
        window: Some(4),
        sinks_keep: 1,
        softcap: Some(1.5),
        alibi: Some(Arc::from([0.25, 0.125, 0.5, 0.0625])),
        sink_logits: Some(Arc::from([0.5, -1.0, 0.25, 2.0])),
        ..AttnSpec::causal(3)
    };
    for broadcast in [[false, false, false], [true, false, true], [false, true, false]] {
        let problem = Problem::new(spec.clone(), dims(2, [4, 2], [5, 7], [3, 2]), Some(broadcast), 4);
        let gradients = problem.gradients(&problem.rows());
        for (name, gradient) in gradients.named() {
            for (i, &gradient) in gradient.iter().enumerate() {
                let step = 1.0 / 512.0;
                let loss = |sign: f32| problem.moved(name, i, sign * step).loss();
                let slope = (loss(1.0) - loss(-1.0)) / f64::from(2.0 * step);
                assert!((slope - gradient).abs() < 1e-4, "d_{name}[{i}]: {gradient}, by differences {slope}");
            }
        }
    }
}

#[test]
fn rows_without_keys_have_zero_output_and_gradients() {
    let mut problem = Problem::new(AttnSpec::causal(16), dims(1, [2, 1], [9, 5], [16, 16]), None, 3);
    problem.d_lse.as_mut().unwrap().fill(1.0);
    let (out, lse, gradients) = run(&problem);
    for head in 0..2 {
        let rows = head * 9..head * 9 + 4;
        assert!(out[rows.start * 16..rows.end * 16].iter().all(|&value| value == 0.0));
        assert!(lse[rows.clone()].iter().all(|&value| value == f32::NEG_INFINITY));
        assert!(gradients.query[rows.start * 16..rows.end * 16].iter().all(|&value| value == 0.0));
    }
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    assert!(finite(&gradients.query) && finite(&gradients.key) && finite(&gradients.value));
    check(&problem);
}

#[test]
fn extreme_scores_give_finite_gradients() {
    for size in [1e2, 1e4, 1e18] {
        let mut problem = Problem::new(AttnSpec::causal(16), dims(1, [1, 1], [70, 70], [16, 16]), None, 3);
        problem.query.iter_mut().for_each(|value| *value *= size);
        let (out, lse, gradients) = run(&problem);
        let all = [out, lse, gradients.query, gradients.key, gradients.value];
        assert!(all.iter().flatten().all(|value| value.is_finite()), "{size}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let spec = |heads: usize| AttnSpec {
        alibi: Some((0..heads).map(|head| 0.3 / (head + 1) as f32).collect()),
        sink_logits: Some((0..heads).map(|head| head as f32).collect()),
        ..AttnSpec::causal(16)
    };
    for heads in [[3, 1], [4, 4]] {
        let problem = Problem::new(spec(heads[0]), dims(1, heads, [300, 400], [16, 16]), None, 6);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (out, lse, gradients) = pool.install(|| run(&problem));
            let tensors = [out, lse, gradients.query, gradients.key, gradients.value];
            let per_head = [gradients.slopes.unwrap(), gradients.sink_logits.unwrap()];
            tensors
                .into_iter()
                .chain(per_head)
                .map(|values| values.into_iter().map(f32::to_bits).collect())
                .collect::<Vec<Vec<u32>>>()
        };
        let one = on(1);
        for threads in [2, 5] {
            assert!(on(threads) == one, "{heads:?} on {threads} threads");
        }
    }
}

#[test]
#[should_panic(expected = "value [1, 2, 4] of width 16 needs 128 elements, there are 127")]
fn a_short_tensor_is_refused() {
    let mut problem = Problem::new(AttnSpec::causal(16), dims(1, [2, 2], [4, 4], [16, 16]), None, 3);
    let dims = problem.dims;
    problem.value.pop();
    let view = |data| View4::contiguous(data, 2, 4, 16);
    let inputs =
        Inputs { query: view(&problem.query), key: view(&problem.key), value: view(&problem.value), bias: None };
    let (mut out, mut lse) = (vec![0.0; dims.output()], vec![0.0; dims.lse()]);
    forward(&problem.spec, &dims, &inputs, View4Mut::heads_first(&mut out, 2, 4, 16), &mut lse);
}

#[test]
fn both_orders_of_heads_and_tokens_hold_the_same_numbers() {
    // Few pairs share their prepared keys, many prepare their own.
    for batch in [1, 40] {
        let problem = Problem::new(AttnSpec::causal(16), dims(batch, [2, 1], [70, 90], [24, 16]), None, 8);
        let (dims, tokens_first) = (problem.dims, run(&problem));
        let inputs = Inputs {
            query: View4::contiguous(&problem.query, 2, 70, 24),
            key: View4::contiguous(&problem.key, 1, 90, 24),
            value: View4::contiguous(&problem.value, 1, 90, 16),
            bias: None,
        };
        let (mut out, mut lse) = (vec![f32::NAN; dims.output()], vec![f32::NAN; dims.lse()]);
        forward(&problem.spec, &dims, &inputs, View4Mut::heads_first(&mut out, 2, 70, 16), &mut lse);
        assert!(tokens_first.0 == out && tokens_first.1 == lse, "batch {batch}");
    }
}

#[test]
#[should_panic(expected = "output: strides [64, 16, 16] are none of")]
fn rows_that_overlap_are_refused() {
    let problem = Problem::new(AttnSpec::causal(16), dims(1, [2, 2], [4, 4], [16, 16]), None, 3);
    let view = |data| View4::contiguous(data, 2, 4, 16);
    let inputs =
        Inputs { query: view(&problem.query), key: view(&problem.key), value: view(&problem.value), bias: None };
    let (mut out, mut lse) = (vec![0.0; 128], vec![0.0; 8]);
    forward(&problem.spec, &problem.dims, &inputs, View4Mut { data: &mut out, strides: [64, 16, 16] }, &mut lse);
}

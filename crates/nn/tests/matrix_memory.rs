//! Mixers whose memory is a matrix: whole texts, step by step and packed side by side.

mod packed;

use burn::tensor::{Device, Distribution, Tensor};
use headwise_nn::mixer::{
    FeatureMap, Gla, GlaSpec, LinearAttention, LinearAttentionSpec, MatrixState, MixContext, MixerSpec, Retention,
    RetentionNorm, RetentionSpec, Segment,
};
use packed::side_by_side;

const DIM: usize = 32;

type Forward = dyn Fn(Tensor<3>, &mut MixContext<'_>) -> Tensor<3>;
type Step = dyn Fn(Tensor<2>, &mut MatrixState) -> Tensor<2>;

/// One of the mixers, behind what all of them do.
struct Mixer {
    name: String,
    forward: Box<Forward>,
    step: Box<Step>,
    state: Box<dyn Fn(usize) -> MatrixState>,
}

/// Wraps a mixer built from its spec.
macro_rules! mixer {
    ($mixer:ident, $spec:expr) => {{
        let spec = $spec;
        spec.check(DIM).expect("a spec that fits");
        let name = format!("{spec:?}");
        let mixer = std::rc::Rc::new($mixer::random(spec, DIM, &Device::flex()));
        let [forward, step, state] = [(); 3].map(|()| mixer.clone());
        Mixer {
            name,
            forward: Box::new(move |x, ctx| forward.forward(x, ctx)),
            step: Box::new(move |x, memory| step.step(x, memory)),
            state: Box::new(move |batch| state.state(batch)),
        }
    }};
}

fn mixers() -> Vec<Mixer> {
    let attention = LinearAttentionSpec::default;
    let maps = [FeatureMap::Elu, FeatureMap::Relu, FeatureMap::Softmax];
    let mut mixers: Vec<Mixer> =
        maps.map(|feature_map| mixer!(LinearAttention, LinearAttentionSpec { feature_map, ..attention() })).into();
    for feature_map in [FeatureMap::Identity, FeatureMap::Silu] {
        let spec = LinearAttentionSpec { feature_map, normalise: false, output_norm: true, heads: 2, ..attention() };
        mixers.push(mixer!(LinearAttention, spec));
    }
    mixers.push(mixer!(Retention, RetentionSpec::default()));
    mixers.push(mixer!(Retention, RetentionSpec { norm: RetentionNorm::Full, ..RetentionSpec::default() }));
    mixers.push(mixer!(
        Retention,
        RetentionSpec { rope: false, heads: 1, value_dim: Some(8), ..RetentionSpec::default() }
    ));
    mixers.push(mixer!(Gla, GlaSpec::default()));
    mixers.push(mixer!(Gla, GlaSpec { heads: 2, key_dim: Some(24), decay_temperature: 0.5, ..GlaSpec::default() }));
    for convolution in [Some(1), Some(3), Some(4)] {
        mixers.push(mixer!(LinearAttention, LinearAttentionSpec { convolution, ..attention() }));
        let norm = RetentionNorm::Full;
        mixers.push(mixer!(Retention, RetentionSpec { convolution, norm, ..RetentionSpec::default() }));
        mixers.push(mixer!(Gla, GlaSpec { convolution, key_dim: Some(8), ..GlaSpec::default() }));
    }
    mixers
}

fn input(batch: usize, tokens: usize) -> Tensor<3> {
    Tensor::random([batch, tokens, DIM], Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A forward over sequences of these lengths, side by side.
fn forward(mixer: &Mixer, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    side_by_side(lengths, |ctx| (mixer.forward)(x, ctx))
}

/// The largest difference relative to the largest value.
fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let largest = |x: Tensor<D>| x.abs().max().into_scalar::<f32>();
    largest(a - b.clone()) / largest(b)
}

#[test]
fn steps_equal_a_forward_of_the_whole_text() {
    for mixer in mixers() {
        let x = input(2, 150);
        let whole = forward(&mixer, x.clone(), &[150]);
        let mut memory = (mixer.state)(2);
        let bytes = memory.bytes();
        let rows: Vec<Tensor<2>> =
            (0..150).map(|t| (mixer.step)(x.clone().narrow(1, t, 1).squeeze_dim(1), &mut memory)).collect();
        let found = distance(Tensor::stack::<3>(rows, 1), whole);
        assert!(found < 1e-4, "{}: {found}", mixer.name);
        assert_eq!(memory.bytes(), bytes, "{}: the memory does not grow", mixer.name);
    }
}

#[test]
fn sequences_side_by_side_equal_each_alone() {
    for mixer in mixers() {
        let lengths = [1, 70, 3, 40];
        let alone: Vec<Tensor<3>> = lengths.iter().map(|&length| input(1, length)).collect();
        let packed = forward(&mixer, Tensor::cat(alone.clone(), 1), &lengths);
        let each: Vec<Tensor<3>> =
            alone.into_iter().zip(lengths).map(|(x, length)| forward(&mixer, x, &[length])).collect();
        let found = distance(packed, Tensor::cat(each, 1));
        assert!(found < 1e-5, "{}: {found}", mixer.name);
    }
}

#[test]
fn later_tokens_do_not_reach_earlier_ones() {
    for mixer in mixers() {
        let x = input(1, 80);
        let changed = Tensor::cat(vec![x.clone().narrow(1, 0, 50), input(1, 30)], 1);
        let [before, after] = [x, changed].map(|x| forward(&mixer, x, &[80]));
        let found = distance(after.clone().narrow(1, 0, 50), before.clone().narrow(1, 0, 50));
        assert!(found < 1e-6, "{}: {found}", mixer.name);
        assert!(distance(after.narrow(1, 50, 30), before.narrow(1, 50, 30)) > 1e-2, "{}", mixer.name);
    }
}

#[test]
fn the_published_normalisation_changes_little_after_the_norm() {
    let x = input(1, 100);
    let device = Device::flex();
    let plain = Retention::random(RetentionSpec { epsilon: 1e-12, ..RetentionSpec::default() }, DIM, &device);
    let full = Retention::new(
        RetentionSpec { norm: RetentionNorm::Full, epsilon: 1e-12, ..RetentionSpec::default() },
        DIM,
        [&plain.query, &plain.key, &plain.value, &plain.gate, &plain.output].map(Clone::clone),
        plain.norm.clone(),
    );
    let positions: Vec<i32> = (0..100).collect();
    let segments = [Segment { sequence: 0, rows: 0..100 }];
    let context = || MixContext { positions: &positions, segments: &segments, layer: 0, cache: None };
    let found = distance(full.forward(x.clone(), &mut context()), plain.forward(x, &mut context()));
    assert!(found < 1e-4, "{found}");
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let text = |result: Result<(), String>| result.expect_err("an error");
    assert_eq!(
        text(LinearAttentionSpec { heads: 5, ..LinearAttentionSpec::default() }.check(32)),
        "key_dim=32 does not divide into heads=5"
    );
    assert_eq!(
        text(RetentionSpec { heads: 32, ..RetentionSpec::default() }.check(32)),
        "key_dim=32 in 32 heads is odd: channels turn in pairs, or give rope=false"
    );
    assert_eq!(text(GlaSpec { heads: 0, ..GlaSpec::default() }.check(32)), "heads=0: it must be at least 1");
    assert_eq!(text(GlaSpec::default().check(1)), "key_dim=0: it must be at least 1");
    let none = "convolution=0: it must be at least 1; none leaves it out";
    assert_eq!(text(GlaSpec { convolution: Some(0), ..GlaSpec::default() }.check(32)), none);
    assert_eq!(text(RetentionSpec { convolution: Some(0), ..RetentionSpec::default() }.check(32)), none);
    assert_eq!(text(LinearAttentionSpec { convolution: Some(0), ..LinearAttentionSpec::default() }.check(32)), none);
}

#[test]
fn a_memory_counts_what_a_convolution_keeps() {
    let spec = GlaSpec { convolution: Some(4), ..GlaSpec::default() };
    let plain = Gla::random(GlaSpec::default(), DIM, &Device::flex()).state(2).bytes();
    // Three tokens of queries and keys, 16 channels each, and values of 32, in two rows.
    assert_eq!(Gla::random(spec, DIM, &Device::flex()).state(2).bytes(), plain + 2 * 3 * (16 + 16 + 32) * 4);
}

#[test]
fn specs_read_as_they_print() {
    let spec: MixerSpec = headwise_spec::from_text("retention(heads=2, norm=full)").expect("a spec");
    assert_eq!(spec, RetentionSpec { heads: 2, norm: RetentionNorm::Full, ..RetentionSpec::default() }.into());
}

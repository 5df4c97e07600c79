//! Mixers whose memory is a matrix: whole texts, in pieces and packed side by side.

mod packed;

use burn::tensor::{Device, Distribution, Tensor};
use headwise_nn::mixer::{
    GlaSpec, LinearAttentionSpec, MixContext, Mixer, MixerSpec, MixerState, Retention, RetentionNorm, RetentionSpec,
    Segment, SoftmaxSpec, States,
};
use headwise_ops::host::Host;
use packed::side_by_side;

const DIM: usize = 32;

/// Mixers of every kind, under the names of their specs.
fn mixers() -> Vec<(String, MixerSpec, Mixer)> {
    let specs = [
        "linear_attention",
        "linear_attention(feature_map=relu)",
        "linear_attention(feature_map=softmax)",
        "linear_attention(feature_map=identity, normalise=false, output_norm=true, heads=2)",
        "linear_attention(feature_map=silu, normalise=false, output_norm=true, heads=2)",
        "retention",
        "retention(norm=full)",
        "retention(rope=false, heads=1, value_dim=8)",
        "gla",
        "gla(heads=2, key_dim=24, decay_temperature=0.5)",
    ];
    let convolved = [1, 3, 4].into_iter().flat_map(|width| {
        [
            format!("linear_attention(convolution={width})"),
            format!("retention(convolution={width}, norm=full)"),
            format!("gla(convolution={width}, key_dim=8)"),
        ]
    });
    let build = |text: String| {
        let spec: MixerSpec = headwise_spec::from_text(&text).expect("a spec");
        spec.check(DIM).expect("a spec that fits");
        let mixer = Mixer::random(&spec, DIM, 1e-6, &Device::flex());
        (text, spec, mixer)
    };
    specs.map(String::from).into_iter().chain(convolved).map(build).collect()
}

fn input(batch: usize, tokens: usize) -> Tensor<3> {
    Tensor::random([batch, tokens, DIM], Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A forward over sequences of these lengths, side by side.
fn forward(mixer: &Mixer, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    side_by_side(lengths, |ctx| mixer.forward(x, ctx))
}

/// A forward over the next rows of several texts, `(rows, state, tokens before)` each; returns those of each text.
fn go_on(mixer: &Mixer, texts: &mut [(Tensor<3>, &mut MixerState, usize)]) -> Vec<Vec<f32>> {
    let (mut positions, mut segments, mut start) = (Vec::new(), Vec::new(), 0);
    for (sequence, (x, _, before)) in texts.iter().enumerate() {
        let rows = start..start + x.dims()[1];
        positions.extend((*before..before + rows.len()).map(|position| position as i32));
        start = rows.end;
        segments.push(Segment { sequence, rows });
    }
    let x = Tensor::cat(texts.iter().map(|(x, ..)| x.clone()).collect(), 1);
    let mut states: Vec<MixerState> = texts.iter().map(|(_, state, _)| (**state).clone()).collect();
    let mut cache = States(&mut states);
    let mut ctx = MixContext { cache: Some(&mut cache), ..MixContext::new(&positions, &segments) };
    let out = Host::new(mixer.forward(x, &mut ctx));
    texts.iter_mut().zip(states).for_each(|((_, state, _), new)| **state = new);
    segments.iter().map(|segment| out.as_slice()[segment.rows.start * DIM..segment.rows.end * DIM].to_vec()).collect()
}

/// The rows of `x`, read in pieces of these lengths in turn.
fn in_pieces(mixer: &Mixer, spec: &MixerSpec, x: &Tensor<3>, lengths: &[usize]) -> (Vec<f32>, MixerState) {
    let (tokens, mut state, mut out, mut start) = (x.dims()[1], spec.state(DIM), Vec::new(), 0);
    for length in lengths.iter().cycle() {
        let rows = x.clone().narrow(1, start, (*length).min(tokens - start));
        let length = rows.dims()[1];
        out.extend(go_on(mixer, &mut [(rows, &mut state, start)]).remove(0));
        start += length;
        if start == tokens {
            break;
        }
    }
    (out, state)
}

/// The largest difference relative to the largest value.
fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let largest = |x: Tensor<D>| x.abs().max().into_scalar::<f32>();
    largest(a - b.clone()) / largest(b)
}

#[test]
fn steps_equal_a_forward_of_the_whole_text() {
    for (name, spec, mixer) in mixers() {
        let x = input(1, 150);
        let whole = forward(&mixer, x.clone(), &[150]);
        let (steps, state) = in_pieces(&mixer, &spec, &x, &[1]);
        let steps = Tensor::<1>::from_floats(&steps[..], &Device::flex()).reshape([1, 150, DIM]);
        let found = distance(steps, whole);
        assert!(found < 1e-4, "{name}: {found}");
        assert_eq!(state.bytes(), spec.state(DIM).bytes(), "{name}: the state does not grow");
    }
}

#[test]
fn pieces_of_a_text_have_its_bits_alone_and_beside_others() {
    for (name, spec, mixer) in mixers() {
        let (x, other) = (input(1, 90), input(1, 7));
        let (alone, state) = in_pieces(&mixer, &spec, &x, &[1]);
        assert_eq!(in_pieces(&mixer, &spec, &x, &[90]), (alone.clone(), state.clone()), "{name}: whole");
        assert_eq!(in_pieces(&mixer, &spec, &x, &[3, 64, 1]), (alone.clone(), state.clone()), "{name}: pieces");
        let (first, mut states) = (x.clone().narrow(1, 0, 40), [(); 3].map(|()| spec.state(DIM)));
        let [before, own, after] = &mut states;
        let mut texts = [(other.clone(), before, 0), (first, &mut *own, 0), (other, after, 0)];
        let beside = go_on(&mixer, &mut texts).remove(1);
        let rest = go_on(&mixer, &mut [(x.clone().narrow(1, 40, 50), own, 40)]).remove(0);
        assert_eq!(([beside, rest].concat(), &states[1]), (alone, &state), "{name}: beside others");
    }
}

#[test]
fn sequences_side_by_side_equal_each_alone() {
    for (name, _, mixer) in mixers() {
        let lengths = [1, 70, 3, 40];
        let alone: Vec<Tensor<3>> = lengths.iter().map(|&length| input(1, length)).collect();
        let packed = forward(&mixer, Tensor::cat(alone.clone(), 1), &lengths);
        let each: Vec<Tensor<3>> =
            alone.into_iter().zip(lengths).map(|(x, length)| forward(&mixer, x, &[length])).collect();
        let found = distance(packed, Tensor::cat(each, 1));
        assert!(found < 1e-5, "{}: {found}", name);
    }
}

#[test]
fn later_tokens_do_not_reach_earlier_ones() {
    for (name, _, mixer) in mixers() {
        let x = input(1, 80);
        let changed = Tensor::cat(vec![x.clone().narrow(1, 0, 50), input(1, 30)], 1);
        let [before, after] = [x, changed].map(|x| forward(&mixer, x, &[80]));
        let found = distance(after.clone().narrow(1, 0, 50), before.clone().narrow(1, 0, 50));
        assert!(found < 1e-6, "{}: {found}", name);
        assert!(distance(after.narrow(1, 50, 30), before.narrow(1, 50, 30)) > 1e-2, "{}", name);
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
    let context = || MixContext::new(&positions, &segments);
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
fn a_state_counts_what_a_convolution_keeps() {
    let bytes = |convolution| MixerSpec::from(GlaSpec { convolution, ..GlaSpec::default() }).state(DIM).bytes();
    // Three tokens of queries and keys, 16 channels each, and values of 32.
    assert_eq!(bytes(Some(4)), bytes(None) + 3 * (16 + 16 + 32) * 4);
    assert!(MixerSpec::from(SoftmaxSpec::default()).state(DIM).is_empty());
}

#[test]
fn specs_read_as_they_print() {
    let spec: MixerSpec = headwise_spec::from_text("retention(heads=2, norm=full)").expect("a spec");
    assert_eq!(spec, RetentionSpec { heads: 2, norm: RetentionNorm::Full, ..RetentionSpec::default() }.into());
}

//! The same tokens cut, packed, laid out and shared out in other ways.

use headwise_kernels::attention::View4;
use headwise_kernels::linear::{Decay, Dims, Inputs, Recurrence, forward};

use super::reference::{Case, KINDS, Kind};

const SPECS: [Recurrence; 2] =
    [Recurrence { scale: 0.5, normalise: false }, Recurrence { scale: 1.0, normalise: true }];

/// The tokens `range` of a case with one head and one row, from a state.
fn part(case: &Case, range: std::ops::Range<usize>, state: &[f32]) -> Case {
    let cut = |data: &[f32], width: usize| data[range.start * width..range.end * width].to_vec();
    let Dims { key_dim, value_dim, .. } = case.dims;
    Case {
        dims: Dims { tokens: range.len(), ..case.dims },
        offsets: vec![0, range.len()],
        query: cut(&case.query, key_dim),
        key: cut(&case.key, key_dim),
        value: cut(&case.value, value_dim),
        decay: match case.kind {
            Kind::None | Kind::Head => case.decay.clone(),
            Kind::Token => cut(&case.decay, 1),
            Kind::Channel => cut(&case.decay, key_dim),
        },
        state: state.to_vec(),
        ..case.clone()
    }
}

fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-12f32, |largest, value| largest.max(value.abs()));
    let error = found.iter().zip(expected).fold(0.0f32, |error, (a, b)| error.max((a - b).abs()));
    assert!(error <= tolerance * largest, "{what}: {error} of {largest}");
}

#[test]
fn a_text_may_be_split_anywhere() {
    for kind in KINDS {
        for spec in SPECS {
            let dims = Dims { batch: 1, heads: 1, tokens: 150, key_dim: 16, value_dim: 24 };
            let case = Case::new(spec, dims, kind, &[0, 150], -0.05, 20);
            let [out, states, _] = case.forward();
            for split in [1, 17, 64, 99, 149] {
                let [first, between, _] = part(&case, 0..split, &case.state).forward();
                let [second, last, _] = part(&case, split..150, &between).forward();
                assert_near(&[first, second].concat(), &out, 1e-5, &format!("{kind:?} {spec:?} {split}"));
                assert_near(&last, &states, 1e-5, &format!("{kind:?} {spec:?} {split}"));
            }
        }
    }
}

#[test]
fn packed_sequences_have_the_bits_of_each_alone() {
    for kind in KINDS {
        for spec in SPECS {
            let dims = Dims { batch: 1, heads: 1, tokens: 150, key_dim: 16, value_dim: 24 };
            let case = Case::new(spec, dims, kind, &[0, 7, 80, 150], -0.05, 21);
            let ([out, states, _], length) = (case.forward(), dims.state(&spec));
            let (mut outs, mut lasts) = (Vec::new(), Vec::new());
            for (number, ends) in case.offsets.windows(2).enumerate() {
                let alone = part(&case, ends[0]..ends[1], &case.state[number * length..][..length]);
                let [out, last, _] = alone.forward();
                outs.extend(out);
                lasts.extend(last);
            }
            assert!(outs == out && lasts == states, "{kind:?} {spec:?}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for kind in KINDS {
        for spec in SPECS {
            for heads in [1, 3] {
                let dims = Dims { batch: 1, heads, tokens: 150, key_dim: 16, value_dim: 100 };
                let case = Case::new(spec, dims, kind, &[0, 150], -0.05, 22);
                let run = |threads: usize| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| (case.forward(), case.backward()))
                };
                let alone = run(1);
                assert!(run(2) == alone && run(5) == alone, "{kind:?} {spec:?} {heads}");
            }
        }
    }
}

#[test]
fn tokens_outside_heads_need_no_transpose() {
    for kind in [Kind::Token, Kind::Channel] {
        let dims = Dims { batch: 2, heads: 3, tokens: 70, key_dim: 9, value_dim: 5 };
        let case = Case::new(SPECS[0], dims, kind, &[0, 70], -0.1, 23);
        let [expected, ..] = case.forward();
        let width = if kind == Kind::Token { 1 } else { dims.key_dim };
        let moved = [(&case.query, 9), (&case.key, 9), (&case.value, 5), (&case.decay, width)]
            .map(|(data, width)| (case.by_token(data, width), width));
        let view = |i: usize| {
            let (data, width): &(Vec<f32>, usize) = &moved[i];
            View4 { data, strides: [dims.tokens * dims.heads * width, *width, dims.heads * width] }
        };
        let decay = if kind == Kind::Token { Decay::Token(view(3)) } else { Decay::Channel(view(3)) };
        let inputs = Inputs { query: view(0), key: view(1), value: view(2), decay, ..case.inputs() };
        let mut out = vec![0.0; dims.output()];
        let mut states = vec![0.0; inputs.states(&case.spec, &dims)];
        forward(&case.spec, &dims, &inputs, &mut out, &mut states, None);
        assert_eq!(out, expected, "{kind:?}");
    }
}

#[test]
fn steps_have_the_same_bits_however_texts_are_cut_and_packed() {
    let dims = Dims { batch: 1, heads: 1, tokens: 150, key_dim: 21, value_dim: 70 };
    for kind in KINDS {
        for spec in SPECS {
            let case = Case::new(spec, dims, kind, &[0, 7, 80, 150], -0.1, 24);
            let ([out, states], length) = (case.steps(), dims.state(&spec));
            let (mut outs, mut lasts) = (Vec::new(), Vec::new());
            for (number, ends) in case.offsets.windows(2).enumerate() {
                let mut state = case.state[number * length..][..length].to_vec();
                let mut start = ends[0];
                for size in [1, 2, 63, 4].into_iter().cycle() {
                    let end = ends[1].min(start + size);
                    let [out, last] = part(&case, start..end, &state).steps();
                    outs.extend(out);
                    (state, start) = (last, end);
                    if end == ends[1] {
                        break;
                    }
                }
                lasts.extend(state);
            }
            assert!(outs == out && lasts == states, "{kind:?} {spec:?}");
        }
    }
}

#[test]
fn steps_do_not_depend_on_the_number_of_threads() {
    for kind in KINDS {
        let dims = Dims { batch: 2, heads: 5, tokens: 90, key_dim: 32, value_dim: 33 };
        let case = Case::new(SPECS[1], dims, kind, &[0, 30, 90], -0.05, 25);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.steps())
        };
        let alone = run(1);
        assert!(run(2) == alone && run(5) == alone, "{kind:?}");
    }
}

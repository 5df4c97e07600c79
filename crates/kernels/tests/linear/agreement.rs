//! Chunks against the definition.

use headwise_kernels::linear::{Dims, Recurrence};

use super::reference::{Case, KINDS, Kind, assert_close, assert_within, definition};

fn dims(tokens: usize, key_dim: usize, value_dim: usize) -> Dims {
    Dims { batch: 2, heads: 2, tokens, key_dim, value_dim }
}

const PLAIN: Recurrence = Recurrence { scale: 0.25, normalise: false };
const NORMALISED: Recurrence = Recurrence { scale: 0.5, normalise: true };

/// Where a decay leaves next to nothing, results are differences of numbers around 1, and relative to that.
const FLOOR: f64 = 1.0;

/// Values and gradients of one case.
fn check(case: &Case, what: &str) {
    let expected = definition(case);
    let [out, states, _] = case.forward();
    let Dims { key_dim, value_dim, .. } = case.dims;
    assert_within(&out, &case.by_token(&expected.out, value_dim), 1e-4, FLOOR, &format!("{what}: output"));
    assert_within(&states, &expected.states, 1e-4, FLOOR, &format!("{what}: states"));
    let [query, key, value, decay, state] = case.backward();
    assert_within(&query, &case.by_token(&expected.d_query, key_dim), 1e-4, FLOOR, &format!("{what}: d query"));
    assert_within(&key, &case.by_token(&expected.d_key, key_dim), 1e-4, FLOOR, &format!("{what}: d key"));
    assert_within(&value, &case.by_token(&expected.d_value, value_dim), 1e-4, FLOOR, &format!("{what}: d value"));
    assert_within(&state, &expected.d_state, 1e-4, FLOOR, &format!("{what}: d state"));
    let d_decay = match case.kind {
        Kind::None | Kind::Head => expected.d_decay,
        Kind::Token => case.by_token(&expected.d_decay, 1),
        Kind::Channel => case.by_token(&expected.d_decay, key_dim),
    };
    assert_within(&decay, &d_decay, 1e-4, FLOOR, &format!("{what}: d decay"));
}

#[test]
fn chunks_are_the_recurrence() {
    for (tokens, key_dim, value_dim) in [(1, 8, 16), (63, 16, 8), (64, 64, 16), (200, 8, 64), (130, 96, 33), (18, 5, 3)]
    {
        for kind in KINDS {
            for strength in [-1e-3, -1.0, -30.0] {
                for spec in [PLAIN, NORMALISED] {
                    let case = Case::new(spec, dims(tokens, key_dim, value_dim), kind, &[0, tokens], strength, 7);
                    check(&case, &format!("{tokens} {key_dim} {value_dim} {kind:?} {strength} {spec:?}"));
                    if kind == Kind::None {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn a_single_head_is_cut_into_columns() {
    for kind in KINDS {
        for spec in [PLAIN, NORMALISED] {
            let dims = Dims { batch: 1, heads: 1, tokens: 150, key_dim: 24, value_dim: 100 };
            check(&Case::new(spec, dims, kind, &[0, 150], -0.1, 8), &format!("{kind:?} {spec:?}"));
        }
    }
}

#[test]
fn packed_sequences_start_from_states_of_their_own() {
    for kind in KINDS {
        for spec in [PLAIN, NORMALISED] {
            let case = Case::new(spec, dims(170, 16, 20), kind, &[0, 1, 1, 66, 130, 170], -0.2, 9);
            check(&case, &format!("{kind:?} {spec:?}"));
        }
    }
}

/// The adjoint that the kernels are compared with, by central differences.
#[test]
fn the_adjoint_is_the_derivative() {
    for kind in KINDS {
        for spec in [PLAIN, NORMALISED] {
            let dims = Dims { batch: 1, heads: 2, tokens: 5, key_dim: 3, value_dim: 2 };
            let case = Case::new(spec, dims, kind, &[0, 2, 5], -0.5, 10);
            let expected = definition(&case);
            let loss = |case: &Case| -> f64 {
                let found = definition(case);
                let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
                dot(&found.out, &case.d_out) + dot(&found.states, &case.d_states)
            };
            type Field = fn(&mut Case) -> &mut Vec<f32>;
            let fields: [(Field, &Vec<f64>); 5] = [
                (|case| &mut case.query, &expected.d_query),
                (|case| &mut case.key, &expected.d_key),
                (|case| &mut case.value, &expected.d_value),
                (|case| &mut case.decay, &expected.d_decay),
                (|case| &mut case.state, &expected.d_state),
            ];
            for (number, (field, gradient)) in fields.into_iter().enumerate() {
                for (i, &gradient) in gradient.iter().enumerate() {
                    // The inputs are f32: the step is what its rounding made of it.
                    let moved = |by: f32| {
                        let mut case = case.clone();
                        field(&mut case)[i] += by;
                        (loss(&case), f64::from(field(&mut case)[i]))
                    };
                    let ((above, high), (below, low)) = (moved(1e-3), moved(-1e-3));
                    let difference = (above - below) / (high - low);
                    let error = (difference - gradient).abs();
                    assert!(
                        error < 2e-5 * gradient.abs().max(1.0),
                        "{kind:?} {spec:?} {number} {i}: {gradient}, {difference}"
                    );
                }
            }
        }
    }
}

#[test]
fn extreme_inputs_stay_finite() {
    for kind in KINDS {
        for decay in [0.0, -1e-3, -1.0, -30.0, f32::NEG_INFINITY] {
            let mut case = Case::new(PLAIN, dims(150, 16, 16), kind, &[0, 150], 1.0, 11);
            case.query.iter_mut().chain(&mut case.key).for_each(|x| *x *= 1e3);
            // Some tokens forget much, the others little.
            case.decay.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 3 == 0 { decay } else { -1e-3 });
            let [out, states, _] = case.forward();
            let expected = definition(&case);
            assert_close(&out, &case.by_token(&expected.out, 16), 1e-4, &format!("{kind:?} {decay}"));
            assert_close(&states, &expected.states, 1e-4, &format!("{kind:?} {decay}"));
            for gradient in case.backward() {
                assert!(gradient.iter().all(|x| x.is_finite()), "{kind:?} {decay}");
            }
        }
    }
}

#[test]
fn steps_are_the_recurrence() {
    for (tokens, key_dim, value_dim) in [(9, 20, 37), (70, 3, 16), (130, 9, 80)] {
        for kind in KINDS {
            for spec in [PLAIN, NORMALISED] {
                let offsets = [0, 1, 1, tokens];
                let case = Case::new(spec, dims(tokens, key_dim, value_dim), kind, &offsets, -0.3, 12);
                let (expected, [out, states]) = (definition(&case), case.steps());
                let what = format!("{tokens} {key_dim} {value_dim} {kind:?} {spec:?}");
                assert_close(&out, &case.by_token(&expected.out, value_dim), 1e-5, &what);
                assert_close(&states, &expected.states, 1e-5, &what);
            }
        }
    }
}

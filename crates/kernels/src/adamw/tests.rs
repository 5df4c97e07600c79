use super::*;
use crate::finite_differences::{assert_close, exact, random};
use crate::simd::{Level, dispatch_at};

/// The definition, in f64: weights and both moments.
fn naive(settings: &AdamW, step: i32, gradient: &[f64], state: &mut [Vec<f64>; 3]) {
    let AdamW { learning_rate, beta_1, beta_2, epsilon, weight_decay, gradient_scale } = *settings;
    let [weights, first, second] = state;
    for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = g * gradient_scale;
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        let (corrected, root) = (*m / (1.0 - beta_1.powi(step)), (*v / (1.0 - beta_2.powi(step))).sqrt());
        *w -= learning_rate * weight_decay * *w + learning_rate * corrected / (root + epsilon);
    }
}

/// Weights, first and second moments before the first step.
fn start(length: usize) -> [Vec<f32>; 3] {
    [random(length, -2.0, 2.0, 1), vec![0.0; length], vec![0.0; length]]
}

fn parameter<'a>(state: &'a mut [Vec<f32>; 3], gradient: &'a [f32]) -> Parameter<'a> {
    let [weight, first, second] = state;
    Parameter { weight, gradient, first, second }
}

const SETTINGS: AdamW =
    AdamW { learning_rate: 0.02, beta_1: 0.85, beta_2: 0.99, epsilon: 1e-3, weight_decay: 0.1, gradient_scale: 0.7 };

#[test]
fn steps_are_their_definition() {
    for settings in [AdamW::default(), SETTINGS] {
        for length in [0, 1, 17, 100, PART + 5] {
            let mut state = start(length);
            let mut expected = state.each_ref().map(|values| exact(values));
            for step in 1..=10 {
                let gradient = random(length, -1.5, 1.0, 100 + step);
                settings.step(step, vec![parameter(&mut state, &gradient)]);
                naive(&settings, step as i32, &exact(&gradient), &mut expected);
            }
            for (found, expected) in state.iter().zip(&expected) {
                assert_close(found, expected, 1e-6, "weights or moments");
            }
        }
    }
}

#[test]
fn a_list_of_parameters_is_each_alone_at_any_number_of_threads() {
    let lengths = [3, PART, 0, 2 * PART + 7, 64];
    let gradients = lengths.map(|length| random(length, -1.0, 1.0, 3));
    let alone: Vec<_> = gradients
        .iter()
        .map(|gradient| {
            let mut state = start(gradient.len());
            SETTINGS.step(4, vec![parameter(&mut state, gradient)]);
            state
        })
        .collect();
    for threads in [1, 2, 3] {
        let mut states = lengths.map(start);
        let list = states.iter_mut().zip(&gradients).map(|(state, gradient)| parameter(state, gradient)).collect();
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| SETTINGS.step(4, list));
        assert_eq!(states.as_slice(), alone);
    }
}

#[test]
fn all_levels_agree_with_scalar() {
    let gradient = random(83, -1.0, 1.0, 5);
    let run = |level| {
        let mut state = start(83);
        for step in 1..=3 {
            let part = parameter(&mut state, &gradient);
            dispatch_at(level, Update { factors: SETTINGS.factors(step), part });
        }
        state.concat()
    };
    let expected = exact(&run(Level::Scalar));
    for level in Level::available() {
        assert_close(&run(level), &expected, 5e-7, level.name());
    }
}

#[test]
fn no_gradient_only_decays() {
    let mut state = start(40);
    let before = state[0].clone();
    SETTINGS.step(1, vec![parameter(&mut state, &[0.0; 40])]);
    let keep = (1.0 - SETTINGS.learning_rate * SETTINGS.weight_decay) as f32;
    assert_eq!(state[0], before.iter().map(|weight| weight * keep).collect::<Vec<_>>());
}

#[test]
#[should_panic(expected = "as long as the 2 weights")]
fn other_lengths_are_refused() {
    AdamW::default().step(
        1,
        vec![Parameter { weight: &mut [0.0; 2], gradient: &[0.0; 3], first: &mut [0.0; 2], second: &mut [0.0; 2] }],
    );
}

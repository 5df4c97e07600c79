use super::*;
use crate::finite_differences::{assert_close, exact, random};
use crate::simd::{Level, dispatch_at};

fn rope(rotary_dim: usize, interleaved: bool) -> Rope {
    Rope::new(inverse_frequencies(rotary_dim, 10_000.0, Scaling::None), 1.0, interleaved)
}

/// The definition, in f64, of one head at one position.
fn naive(rope: &Rope, head: &[f64], position: f64) -> Vec<f64> {
    let (mut out, half) = (head.to_vec(), rope.inv_freq().len());
    for (i, frequency) in rope.inv_freq().iter().enumerate() {
        let (sine, cosine) = (position * f64::from(*frequency)).sin_cos();
        let (a, b) = if rope.interleaved() { (2 * i, 2 * i + 1) } else { (i, i + half) };
        out[a] = (head[a] * cosine - head[b] * sine) * f64::from(rope.attention_factor());
        out[b] = (head[b] * cosine + head[a] * sine) * f64::from(rope.attention_factor());
    }
    out
}

#[test]
fn rotations_are_their_definition_at_any_position() {
    let positions = [0, 1, 5, -3, 32_768, 1_000_000, -70_000, i32::MAX, i32::MIN];
    for (head_dim, rotary_dim) in [(2, 2), (6, 4), (64, 64), (80, 20), (128, 66)] {
        for interleaved in [false, true] {
            let frequencies = inverse_frequencies(rotary_dim, 10_000.0, Scaling::None);
            let rope = Rope::new(frequencies, 1.5, interleaved);
            let (heads, row_stride) = (3, 3 * head_dim + 5);
            let before = random(positions.len() * row_stride, -1.0, 1.0, 1);
            let mut x = before.clone();
            rope.rotate(&mut x, HeadLayout { row_stride, heads, head_dim }, &positions);
            for (r, &position) in positions.iter().enumerate() {
                for head in 0..heads {
                    let at = r * row_stride + head * head_dim;
                    let expected = naive(&rope, &exact(&before[at..][..head_dim]), f64::from(position));
                    assert_close(&x[at..][..head_dim], &expected, 4e-7, &format!("{position} {rope:?}"));
                }
                let gap = r * row_stride + heads * head_dim..(r + 1) * row_stride;
                assert_eq!(x[gap.clone()], before[gap], "values between the rows are left alone");
            }
        }
    }
}

#[test]
fn known_frequencies() {
    let plain = inverse_frequencies(8, 10_000.0, Scaling::None);
    assert_eq!(plain, [1.0, 0.1, 0.01, 0.001]);
    let linear = inverse_frequencies(8, 10_000.0, Scaling::Linear { factor: 4.0 });
    assert_eq!(linear, [0.25, 0.025, 0.0025, 0.00025]);
    // Wavelengths 6.3, 63, 628 and 6283 against bounds of 50 (kept) and 400 (stretched): the second is in between.
    let llama3 = Scaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 8.0, original_max: 400.0 };
    let scaled = inverse_frequencies(8, 10_000.0, llama3);
    let kept = (400.0 / (std::f64::consts::TAU / 0.1) - 1.0) / 7.0;
    let blend = ((1.0 - kept) * 0.1 / 8.0 + kept * 0.1) as f32;
    assert_eq!(scaled, [1.0, blend, 0.00125, 0.000125]);
    assert!(blend > 0.0125 && blend < 0.1);
}

#[test]
fn a_quarter_turn_swaps_the_pair() {
    for (interleaved, expected) in [(false, [-3.0, -4.0, 1.0, 2.0]), (true, [-2.0, 1.0, -4.0, 3.0])] {
        let rope = Rope::new(vec![std::f32::consts::FRAC_PI_2; 2], 1.0, interleaved);
        let mut x = [1.0, 2.0, 3.0, 4.0];
        rope.rotate(&mut x, HeadLayout { row_stride: 4, heads: 1, head_dim: 4 }, &[1]);
        assert_close(&x, &expected, 1e-6, "a quarter turn");
    }
}

#[test]
fn turns_add_up_and_undo_each_other() {
    let layout = HeadLayout { row_stride: 128, heads: 2, head_dim: 64 };
    for interleaved in [false, true] {
        let rope = rope(64, interleaved);
        let before = random(3 * 128, -1.0, 1.0, 2);
        let (mut twice, mut once) = (before.clone(), before.clone());
        rope.rotate(&mut twice, layout, &[3, 500, 9_000]);
        rope.rotate_by(&mut twice, layout, 3, 77);
        rope.rotate(&mut once, layout, &[80, 577, 9_077]);
        assert_close(&twice, &exact(&once), 5e-7, "R(a) R(b) = R(a + b)");
        rope.rotate_back(&mut once, layout, &[80, 577, 9_077]);
        assert_close(&once, &exact(&before), 5e-7, "R(-a) R(a) = 1");
        rope.rotate_by(&mut twice, layout, 3, -77);
        rope.rotate(&mut twice, layout, &[-3, -500, -9_000]);
        assert_close(&twice, &exact(&before), 1e-6, "negative positions turn back");
    }
}

#[test]
fn products_depend_on_the_difference_of_positions() {
    let layout = HeadLayout { row_stride: 64, heads: 1, head_dim: 64 };
    let (query, key) = (random(64, -1.0, 1.0, 3), random(64, -1.0, 1.0, 4));
    let rope = rope(64, false);
    let score = |at: i32, to: i32| {
        let (mut query, mut key) = (query.clone(), key.clone());
        rope.rotate(&mut query, layout, &[at]);
        rope.rotate(&mut key, layout, &[to]);
        query.iter().zip(&key).map(|(q, k)| f64::from(q * k)).sum::<f64>()
    };
    for shift in [1, 1000, 32_768, 500_000] {
        assert!((score(40, 7) - score(40 + shift, 7 + shift)).abs() < 3e-6, "{shift}");
    }
    assert!((score(40, 7) - score(41, 7)).abs() > 1e-3, "another difference is another score");
}

#[test]
fn the_backward_pass_is_the_transpose() {
    let layout = HeadLayout { row_stride: 24, heads: 1, head_dim: 24 };
    let rope = Rope::new(inverse_frequencies(20, 10_000.0, Scaling::None), 1.3, false);
    let (x, dy) = (random(24, -1.0, 1.0, 5), random(24, -1.0, 1.0, 6));
    let (mut y, mut dx) = (x.clone(), dy.clone());
    rope.rotate(&mut y, layout, &[91]);
    rope.rotate_back(&mut dx, layout, &[91]);
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    assert!((product(&y, &dy) - product(&x, &dx)).abs() < 1e-5);
}

#[test]
fn rows_do_not_depend_on_others_or_on_what_was_kept() {
    let layout = HeadLayout { row_stride: 192, heads: 3, head_dim: 64 };
    let before = random(700 * 192, -1.0, 1.0, 7);
    let positions: Vec<i32> = (0..700).map(|i| (i * 97) % 5_000 - 400).collect();
    let mut together = before.clone();
    rope(64, false).rotate(&mut together, layout, &positions);
    for ((before, expected), position) in before.chunks(192).zip(together.chunks(192)).zip(positions) {
        let mut alone = before.to_vec();
        // A new embedding each time: nothing kept from other positions.
        rope(64, false).rotate(&mut alone, layout, &[position]);
        assert_eq!(alone, expected);
    }
}

#[test]
fn all_levels_agree_with_scalar() {
    let layout = HeadLayout { row_stride: 100, heads: 1, head_dim: 100 };
    let rope = rope(90, false);
    let run = |level| {
        let mut x = random(300, -1.0, 1.0, 8);
        let positions = Positions::Each(&[4, 900, -5]);
        dispatch_at(level, Rotate { rope: &rope, kept: &[], x: &mut x, layout, positions, first: 0 });
        x
    };
    let expected = exact(&run(Level::Scalar));
    for level in Level::available() {
        assert_close(&run(level), &expected, 3e-7, level.name());
    }
}

#[test]
fn equal_rotations_share_their_sines() {
    let (first, mut second, mut other) = (rope(8, false), rope(8, true), rope(6, false));
    assert!(second.share(&first) && !other.share(&first));
    let mut x = vec![1.0; 8];
    first.rotate(&mut x, HeadLayout { row_stride: 8, heads: 1, head_dim: 8 }, &[900]);
    assert!(Arc::ptr_eq(&first.turns(901), &second.turns(901)), "computed twice");
    assert!(!Arc::ptr_eq(&first.turns(901), &other.turns(901)));
}

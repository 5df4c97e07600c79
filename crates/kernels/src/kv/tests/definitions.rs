//! What is read back is what the definitions of the formats say.

use super::*;

/// A group as it is defined, in f64: what each number decodes to, and half the scale.
fn asymmetric(group: &[f32], levels: f64) -> (Vec<f64>, f64) {
    let wide = || group.iter().map(|&x| f64::from(x));
    let (low, high) = (wide().fold(f64::INFINITY, f64::min), wide().fold(f64::NEG_INFINITY, f64::max));
    let scale = (high - low) / levels;
    (wide().map(|x| if scale == 0.0 { low } else { ((x - low) / scale).round() * scale + low }).collect(), scale / 2.0)
}

/// Ordinary numbers, with some channels, keys and values that are constant, zero, large or small.
fn hard_pairs(slots: usize, head_dim: usize, value_dim: usize) -> Vec<Pair> {
    let mut pairs = draw(slots, head_dim, value_dim);
    for (slot, (key, value)) in pairs.iter_mut().enumerate() {
        key[3] = 0.7;
        key[5] = 0.0;
        key[6] = 30.0 + key[6] * 0.1;
        key[7] *= if slot % 11 == 0 { 1e4 / 2.0 } else { 1.0 };
        match slot % 7 {
            1 => value.fill(-1.3),
            2 => value.fill(0.0),
            3 => value[2] = 1e4,
            4 => value.iter_mut().for_each(|x| *x *= 1e-5),
            _ => {}
        }
        if slot % 7 == 5 {
            key.fill(0.0);
        }
    }
    pairs
}

#[test]
fn groups_are_those_of_the_definition() {
    const SLOTS: usize = 200;
    for (codec, levels) in [(Codec::Int4, 15.0), (Codec::Kivi4, 15.0), (Codec::Kivi2, 3.0)] {
        let (head_dim, value_dim) = (72, 40);
        let pairs = hard_pairs(SLOTS, head_dim, value_dim);
        let actual = all(&store(codec, &pairs));
        // 200 pairs: two pages lie behind the most recent 128.
        let coded = if pairwise(codec) { SLOTS } else { 64 };
        let check = |numbers: Vec<(f32, f32)>| {
            let (defined, half) = asymmetric(&numbers.iter().map(|&(x, _)| x).collect::<Vec<f32>>(), levels);
            let largest = numbers.iter().fold(0.0f64, |largest, &(x, _)| largest.max(f64::from(x).abs()));
            for (&(x, y), defined) in numbers.iter().zip(defined) {
                let (x, y) = (f64::from(x), f64::from(y));
                // Scale and minimum are half-precision numbers: a relative 2^-10, or 2^-24 near zero.
                let rounding = largest / 1024.0 + half / 512.0 + 2e-7;
                assert!((x - y).abs() <= half + rounding, "{codec}: {y} for {x}, half a scale is {half}");
                // So the levels are a little off, the last one by `levels` times what the scale is.
                let shift = largest / 512.0 + levels * (half / 512.0 + 2e-7);
                let tie = (x - defined).abs() >= half - shift;
                assert!(tie || (y - defined).abs() <= shift, "{codec}: {y} for {x}, defined as {defined}");
            }
        };
        for slot in 0..coded {
            let (pair, actual) = (&pairs[slot], &actual[slot]);
            for channels in (0..value_dim).collect::<Vec<_>>().chunks(32) {
                check(channels.iter().map(|&c| (pair.1[c], actual.1[c])).collect());
            }
            if codec == Codec::Int4 {
                for channels in (0..head_dim).collect::<Vec<_>>().chunks(32) {
                    check(channels.iter().map(|&c| (pair.0[c], actual.0[c])).collect());
                }
            }
        }
        if codec != Codec::Int4 {
            for slots in (0..coded).collect::<Vec<_>>().chunks(PAGE) {
                for channel in 0..head_dim {
                    check(slots.iter().map(|&slot| (pairs[slot].0[channel], actual[slot].0[channel])).collect());
                }
            }
            let recent = store(Codec::F16, &pairs);
            assert_eq!(actual[coded..], all(&recent)[coded..], "{codec}: the window is in half precision");
        }
    }
}

#[test]
fn int8_is_its_definition() {
    let pairs = hard_pairs(70, 24, 40);
    for ((key, value), (k, v)) in pairs.iter().zip(all(&store(Codec::Int8, &pairs))) {
        for (numbers, actual) in [(key, k), (value, v)] {
            let scale = numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
            for (&x, y) in numbers.iter().zip(actual) {
                assert!((x - y).abs() <= scale * 0.50001, "{y} for {x}, scale {scale}");
                let code = f64::from(x) / f64::from(scale);
                if (code - code.floor() - 0.5).abs() > 1e-4 && scale > 0.0 {
                    assert_eq!(y, code.round() as f32 * scale);
                }
            }
        }
    }
}

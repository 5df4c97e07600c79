//! K blocks from numbers: 256 weights in groups, each with a small integer scale (and minimum) of its own; the layouts are those of
//! `dequantise/k.rs`.
//!
//! Scales and minimums of a group are fitted to its codes by least squares and the codes found anew, a few times; then they are
//! rounded to integers, and the codes follow from what was rounded.

use half::f16;

/// How often scale and codes follow from each other.
const FITS: usize = 5;

/// The largest scale or minimum of 6 bits.
const MOST: f32 = 63.0;

pub(super) fn q4_k(weights: &[f32], out: &mut [u8]) {
    let codes = scaled_groups(weights, 15, &mut out[..16]);
    four_bits(&codes, &mut out[16..]);
}

pub(super) fn q5_k(weights: &[f32], out: &mut [u8]) {
    let codes = scaled_groups(weights, 31, &mut out[..16]);
    for (i, code) in codes.iter().enumerate() {
        out[16 + i % 32] |= (code >> 4) << (i / 32);
    }
    four_bits(&codes.map(|code| code & 0x0F), &mut out[48..]);
}

pub(super) fn q6_k(weights: &[f32], out: &mut [u8]) {
    let fitted: Vec<f32> = weights.chunks_exact(16).map(fit_scale).collect();
    let extreme = fitted.iter().fold(0.0f32, |most, &s| if s.abs() > most.abs() { s } else { most });
    let d = f16::from_f32(extreme / -128.0);
    out[208..].copy_from_slice(&d.to_le_bytes());
    for (g, (group, fitted)) in weights.chunks_exact(16).zip(fitted).enumerate() {
        let scale = rounded(fitted, d.to_f32()).clamp(-128.0, 127.0) as i8;
        out[192 + g] = scale as u8;
        let step = d.to_f32() * f32::from(scale);
        for (j, weight) in group.iter().enumerate() {
            let (i, code) = (16 * g + j, (rounded(*weight, step).clamp(-32.0, 31.0) as i32 + 32) as u8);
            out[64 * (i / 128) + i % 64] |= (code & 0x0F) << (4 * (i / 64 % 2));
            out[128 + 32 * (i / 128) + i % 32] |= (code >> 4) << (2 * (i / 32 % 4));
        }
    }
}

/// The codes of 8 groups of 32 with scales and minimums, which are written to `header`: `d`, `dmin`, and 6 bits for each.
fn scaled_groups(weights: &[f32], levels: u8, header: &mut [u8]) -> [u8; 256] {
    let fitted: Vec<(f32, f32)> = weights.chunks_exact(32).map(|group| fit(group, f32::from(levels))).collect();
    let largest = |values: &mut dyn Iterator<Item = f32>| f16::from_f32(values.fold(0.0, f32::max) / MOST);
    let d = largest(&mut fitted.iter().map(|fit| fit.0));
    let dmin = largest(&mut fitted.iter().map(|fit| fit.1));
    header[..2].copy_from_slice(&d.to_le_bytes());
    header[2..4].copy_from_slice(&dmin.to_le_bytes());
    let (d, dmin) = (d.to_f32(), dmin.to_f32());
    let mut codes = [0; 256];
    for (g, ((group, codes), (scale, minimum))) in
        weights.chunks_exact(32).zip(codes.chunks_exact_mut(32)).zip(fitted).enumerate()
    {
        let [scale, minimum] = [rounded(scale, d), rounded(minimum, dmin)].map(|value| value.clamp(0.0, MOST) as u8);
        put_six_bits(&mut header[4..], g, scale, minimum);
        let (step, below) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (code, weight) in codes.iter_mut().zip(group) {
            *code = rounded(weight + below, step).clamp(0.0, f32::from(levels)) as u8;
        }
    }
    codes
}

/// `value / step` to the nearest integer; 0 if there is no step.
fn rounded(value: f32, step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { (value / step).round() }
}

/// The scale `s` and minimum `m ≥ 0` of `x ≈ s·q - m` with codes `q` from 0 to `levels`.
fn fit(x: &[f32], levels: f32) -> (f32, f32) {
    let least = x.iter().fold(0.0f32, |least, &x| least.min(x));
    let most = x.iter().fold(0.0f32, |most, &x| most.max(x));
    let mut best = ((most - least) / levels, -least);
    if best.0 == 0.0 {
        return best;
    }
    let code = |x: f32, (s, m): (f32, f32)| ((x + m) / s).round().clamp(0.0, levels);
    let error = |fit: (f32, f32)| x.iter().map(|&x| (fit.0 * code(x, fit) - fit.1 - x).powi(2)).sum::<f32>();
    let mut least_error = error(best);
    for _ in 0..FITS {
        let (mut q1, mut q2, mut x1, mut qx) = (0.0, 0.0, 0.0, 0.0);
        for &x in x {
            let q = code(x, best);
            (q1, q2, x1, qx) = (q1 + q, q2 + q * q, x1 + x, qx + q * x);
        }
        let n = x.len() as f32;
        let determinant = n * q2 - q1 * q1;
        let free = ((n * qx - q1 * x1) / determinant, (q1 * qx - q2 * x1) / determinant);
        let next = if determinant > 0.0 && free.1 >= 0.0 { free } else { (qx / q2, 0.0) };
        if !(next.0 > 0.0 && next.0.is_finite() && error(next) < least_error) {
            break;
        }
        (best, least_error) = (next, error(next));
    }
    best
}

/// The scale `s` of `x ≈ s·q` with codes `q` from -32 to 31.
fn fit_scale(x: &[f32]) -> f32 {
    let extreme = x.iter().fold(0.0f32, |most, &x| if x.abs() > most.abs() { x } else { most });
    let mut best = extreme / -32.0;
    if best == 0.0 {
        return best;
    }
    let code = |x: f32, s: f32| (x / s).round().clamp(-32.0, 31.0);
    let error = |s: f32| x.iter().map(|&x| (s * code(x, s) - x).powi(2)).sum::<f32>();
    for _ in 0..FITS {
        let (q2, qx) = x.iter().fold((0.0, 0.0), |(q2, qx), &x| {
            let q = code(x, best);
            (q2 + q * q, qx + q * x)
        });
        let next = qx / q2;
        if !(next.is_finite() && next != 0.0 && error(next) < error(best)) {
            break;
        }
        best = next;
    }
    best
}

/// Codes of 4 bits in pairs that are 32 apart.
fn four_bits(codes: &[u8; 256], out: &mut [u8]) {
    for (i, code) in codes.iter().enumerate() {
        out[32 * (i / 64) + i % 32] |= code << (4 * (i / 32 % 2));
    }
}

/// Writes the scale and the minimum of group `g`; groups 4 to 7 have their two high bits on top of those of the others.
fn put_six_bits(scales: &mut [u8], g: usize, scale: u8, minimum: u8) {
    if g < 4 {
        scales[g] |= scale;
        scales[g + 4] |= minimum;
    } else {
        scales[g + 4] |= (scale & 0x0F) | (minimum & 0x0F) << 4;
        scales[g - 4] |= (scale >> 4) << 6;
        scales[g] |= (minimum >> 4) << 6;
    }
}

//! Softmax and GELU in integers alone, as processors without floating point compute them. Kim et al. 2021 (I-BERT), arXiv:2101.01321.
//!
//! A number is a code times a scale that is known beforehand. A polynomial `a (x + b)² + c` of a code `q` with scale `s` is
//! `(q + ⌊b/s⌋)² + ⌊c/(a s²)⌋` with scale `a s²`: one integer product. `e^x` for `x ≤ 0` is `2^-z e^p` with `p = x + z ln 2` in `(-ln 2, 0]`,
//! where `0.3585 (p + 1.353)² + 0.344` is off by at most 0.0022 (the paper says 0.0019); `erf(x)` is `sign(x) (-0.2888 (min(|x|, 1.769) - 1.769)² + 1)`, off by
//! at most 0.02. Floating point is used here for the scales, which hardware has as constants, and to bring numbers in and out.

use std::f64::consts::{LN_2, SQRT_2};

/// `a (x + b)² + c` of codes with one scale.
struct Polynomial {
    b: i64,
    c: i64,
    /// Of what comes out.
    scale: f64,
}

impl Polynomial {
    fn new([a, b, c]: [f64; 3], scale: f64) -> Self {
        let out = a * scale * scale;
        Self { b: (b / scale).floor() as i64, c: (c / out).floor() as i64, scale: out }
    }

    fn of(&self, code: i64) -> i64 {
        (code + self.b) * (code + self.b) + self.c
    }
}

/// `e^x` of codes that are not above zero.
pub struct Exp {
    polynomial: Polynomial,
    ln_2: i64,
}

impl Exp {
    /// For codes with this scale, which must be above 0 and at most ln 2.
    ///
    /// # Panics
    /// If it is not.
    pub fn new(scale: f64) -> Self {
        assert!(scale > 0.0 && scale <= LN_2, "a scale of {scale}: it must be above 0 and at most ln 2");
        Self { polynomial: Polynomial::new([0.3585, 1.353, 0.344], scale), ln_2: (LN_2 / scale).floor() as i64 }
    }

    /// The code of `e^(code · scale)`; a code above zero counts as zero.
    pub fn of(&self, code: i64) -> i64 {
        let code = code.min(0);
        let halvings = -code / self.ln_2;
        self.polynomial.of(code + halvings * self.ln_2) >> halvings.min(63)
    }

    /// The scale of what comes out.
    pub fn scale(&self) -> f64 {
        self.polynomial.scale
    }
}

/// Scores so far below the largest have no weight: `2⁻³⁰`.
const DEEPEST: f64 = 30.0 * LN_2;
/// The largest code of 16 bits.
const MOST: f64 = 32767.0;

/// Writes the softmax of each row of `x` to `y`: scores become codes of 16 bits, weights come out as multiples of `2^-bits`, rounded down.
///
/// # Panics
/// If `x` is not rows of `width`, `y` has another length, or `bits` is not in `1..=16`.
pub fn softmax(x: &[f32], width: usize, bits: u32, y: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width) && x.len() == y.len(), "rows of {width}, as many out as in");
    assert!((1..=16).contains(&bits), "{bits} bits: 1 to 16");
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !most.is_finite() {
            y.fill(if most == f32::NEG_INFINITY { 0.0 } else { f32::NAN });
            continue;
        }
        let below = |score: f32| (f64::from(score) - f64::from(most)).max(-DEEPEST);
        let deepest = x.iter().map(|&score| below(score)).fold(0.0, f64::min);
        // A row of equal scores needs a scale too.
        let scale = (-deepest).max(1.0) / MOST;
        let exp = Exp::new(scale);
        let weights: Vec<i64> = x.iter().map(|&score| exp.of((below(score) / scale).round() as i64)).collect();
        let sum = weights.iter().sum::<i64>().max(1);
        let largest = (1i64 << bits) - 1;
        for (weight, y) in weights.into_iter().zip(y) {
            let code = ((i128::from(weight) << bits) / i128::from(sum)) as i64;
            *y = code.min(largest) as f32 / (1u32 << bits) as f32;
        }
    }
}

/// Writes the GELU of each row of `x` to `y`: inputs become codes of `bits` bits around zero, with one scale for the row.
///
/// # Panics
/// If `x` is not rows of `width`, `y` has another length, or `bits` is not in `2..=16`.
pub fn gelu(x: &[f32], width: usize, bits: u32, y: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width) && x.len() == y.len(), "rows of {width}, as many out as in");
    assert!((2..=16).contains(&bits), "{bits} bits: 2 to 16");
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let largest = x.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        if largest == 0.0 || !largest.is_finite() || x.iter().any(|value| value.is_nan()) {
            y.fill(if largest == 0.0 && !x.iter().any(|value| value.is_nan()) { 0.0 } else { f32::NAN });
            continue;
        }
        let scale = f64::from(largest) / f64::from((1u32 << (bits - 1)) - 1);
        // erf is of x / √2; both its scale and the code of one are negative, as the polynomial's first coefficient is.
        let erf = Polynomial::new([-0.2888, -1.769, 1.0], scale / SQRT_2);
        let one = (1.0 / erf.scale).floor() as i64;
        for (x, y) in x.iter().zip(y) {
            let code = (f64::from(*x) / scale).round() as i64;
            let of_erf = code.signum() * erf.of(code.abs().min(-erf.b));
            *y = ((code * (of_erf + one)) as f64 * scale * erf.scale / 2.0) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_as_near_as_its_polynomial() {
        let scale = 1e-4;
        let exp = Exp::new(scale);
        for code in (-200_000..=0).step_by(7) {
            let found = exp.of(code) as f64 * exp.scale();
            let expected = (code as f64 * scale).exp();
            assert!((found - expected).abs() <= 0.0022, "e^{}: {found}", code as f64 * scale);
        }
        assert_eq!(exp.of(5), exp.of(0));
        assert_eq!(exp.of(-10_000_000), 0);
    }

    #[test]
    fn weights_are_near_those_of_softmax_and_keep_their_order() {
        for (spread, width) in [(0.0f32, 5), (1.0, 17), (9.0, 64), (80.0, 33)] {
            let x: Vec<f32> = (0..3 * width).map(|i| spread * (((i * 37) % 101) as f32 / 101.0 - 0.5)).collect();
            let (mut found, mut expected) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
            softmax(&x, width, 16, &mut found);
            crate::softmax::softmax(&x, width, &mut expected);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 0.003, "{found} for {expected}, spread {spread}");
            }
            for (x, y) in x.chunks(width).zip(found.chunks(width)) {
                let sum: f32 = y.iter().sum();
                assert!(sum <= 1.0 && sum > 1.0 - width as f32 / 65536.0 - 1e-6, "{sum}");
                let ordered = |a: usize, b: usize| x[a] > x[b] || y[a] <= y[b];
                assert!((0..width).all(|a| (0..width).all(|b| ordered(a, b))));
            }
        }
        let mut found = [0.0; 2];
        softmax(&[f32::NEG_INFINITY, 3.0], 2, 8, &mut found);
        assert_eq!(found, [0.0, 255.0 / 256.0]);
        softmax(&[f32::NEG_INFINITY; 2], 2, 8, &mut found);
        assert_eq!(found, [0.0; 2]);
    }

    #[test]
    fn gelu_is_as_near_as_published() {
        let x: Vec<f32> = (-400..=400).map(|i| i as f32 / 100.0).collect();
        let (mut found, mut expected) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
        crate::activation::gelu(&x, &mut expected);
        for (bits, most) in [(16, 0.0182), (8, 0.0182 + 4.0 / 127.0)] {
            gelu(&x, x.len(), bits, &mut found);
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < most, "{bits} bits: {worst}");
        }
        gelu(&[0.0, 0.0], 2, 8, &mut found[..2]);
        assert_eq!(found[..2], [0.0, 0.0]);
        gelu(&[1.0, f32::NAN], 2, 8, &mut found[..2]);
        assert!(found[..2].iter().all(|value| value.is_nan()));
    }
}

//! Elementary functions over [`Simd`], the same polynomials on every instruction set.

use super::Simd;

/// `e^x = 2^n · e^r` with `n = round(x / ln 2)`, `|r| ≤ ln 2 / 2`, and a degree-6 polynomial for `e^r`.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let n = s.min(s.max(n, s.splat(-126.0)), s.splat(127.0));
    // ln 2 in two parts: the first has few enough bits that n · part is exact.
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.0 / 720.0);
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let y = s.times_exp2(p, n);
    s.select_less(x, s.splat(-87.3), s.zero(), y)
}

/// `e^x` for `x ≤ 0` as [`exp`], with the remainder in one step, a polynomial of degree 5 fitted to the remainders that
/// there are, and no bounds of `n`: the lanes where they matter become zero.
#[inline(always)]
pub(super) fn exp_below_zero<S: Simd>(s: S, x: S::F) -> S::F {
    // 1.5 · 2^23: a sum of this size has no fraction.
    let whole = s.splat(12_582_912.0);
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), whole), whole);
    let r = s.fma(n, s.splat(-std::f32::consts::LN_2), x);
    let mut p = s.splat(0.008_312_501);
    for coefficient in [0.041_890_33, 0.166_671_16, 0.499_992_3, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    s.select_less(x, s.splat(-87.3), s.zero(), s.times_exp2(p, n))
}

/// `tanh x = sign(x) · (1 - e^{-2|x|}) / (1 + e^{-2|x|})`, with the odd series near zero where that cancels.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.abs(x);
    let one = s.splat(1.0);
    let e = exp(s, s.mul(magnitude, s.splat(-2.0)));
    let large = s.div(s.sub(one, e), s.add(one, e));
    let large = s.select_less(x, s.zero(), s.sub(s.zero(), large), large);
    let square = s.mul(x, x);
    let mut p = s.splat(62.0 / 2835.0);
    for coefficient in [-17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        p = s.fma(p, square, s.splat(coefficient));
    }
    s.select_less(magnitude, s.splat(0.25), s.mul(x, p), large)
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, LANES, Level, Simd, dispatch_at};

    struct Map<'a, const F: u8>(&'a [f32]);

    impl<const F: u8> Kernel for Map<'_, F> {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let mut out = Vec::new();
            for chunk in self.0.chunks(LANES) {
                let x = s.load_partial(chunk, 0.0);
                let y = match F {
                    0 => s.exp(x),
                    2 => s.exp_below_zero(x),
                    _ => s.tanh(x),
                };
                out.extend_from_slice(&s.to_array(y)[..chunk.len()]);
            }
            out
        }
    }

    fn grid(low: f32, high: f32) -> Vec<f32> {
        (0..=20_000).map(|i| low + (high - low) * i as f32 / 20_000.0).collect()
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let x = grid(-87.2, 88.0);
        for level in Level::available() {
            for (x, y) in x.iter().zip(dispatch_at(level, Map::<0>(&x))) {
                let exact = f64::from(*x).exp();
                assert!((f64::from(y) - exact).abs() <= 2.0 * exact * f64::from(f32::EPSILON), "{level:?} {x} {y}");
            }
        }
    }

    #[test]
    fn exp_keeps_the_special_values() {
        let x = [f32::NEG_INFINITY, -1e30, -88.0, f32::INFINITY, f32::NAN, 0.0];
        for level in Level::available() {
            let y = dispatch_at(level, Map::<0>(&x));
            assert_eq!(&y[..4], &[0.0, 0.0, 0.0, f32::INFINITY], "{level:?}");
            assert!(y[4].is_nan() && y[5] == 1.0, "{level:?} {y:?}");
        }
    }

    #[test]
    fn exp_below_zero_is_close_and_keeps_its_ends() {
        let x = grid(-86.0, 0.0);
        for level in Level::available() {
            for (x, y) in x.iter().zip(dispatch_at(level, Map::<2>(&x))) {
                let exact = f64::from(*x).exp();
                let bound = 3e-7 + f64::from(x.abs() * f32::EPSILON / 2.0);
                assert!((f64::from(y) - exact).abs() <= bound * exact, "{level:?} {x} {y}");
            }
            let ends = [0.0, f32::NEG_INFINITY, f32::MIN, -1e38, -1e30, -1e9, -88.0, f32::NAN];
            let y = dispatch_at(level, Map::<2>(&ends));
            assert_eq!(&y[..7], &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "{level:?}");
            assert!(y[7].is_nan(), "{level:?} {y:?}");
        }
    }

    #[test]
    fn tanh_is_close() {
        let x = grid(-4.0, 4.0);
        for level in Level::available() {
            for (x, y) in x.iter().zip(dispatch_at(level, Map::<1>(&x))) {
                assert!((f64::from(y) - f64::from(*x).tanh()).abs() < 1e-6, "{level:?} tanh {x} {y}");
            }
        }
    }
}

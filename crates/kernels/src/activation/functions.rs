//! The activation functions with their derivatives, sixteen values at a time.

use crate::simd::Simd;

/// A function with its derivative.
pub(crate) trait Activation: Sync {
    /// `f(x)`
    fn value<S: Simd>(s: S, x: S::F) -> S::F;
    /// `f'(x)`
    fn slope<S: Simd>(s: S, x: S::F) -> S::F;
}

/// `x Φ(x)`, computed as `max(x, 0) - a Φ(-a)` with `a = |x|` and `Φ(-a) ≈ Q(a)⁸` for a polynomial `Q`: no exponential and
/// no division.
///
/// `Φ(-a)^(1/8)` falls like `e^{-a²/16}`, which a polynomial follows well. `Q` has the smallest largest error of `a Q(a)⁸` on
/// `0..8`, 5e-9, among those with `Q(8) = 3e-5`, so that beyond 8 nothing is left (and no denormal number is met). With all
/// rounding `x Φ(x)` is within 2e-7 · max(1, x), its derivative within 5e-7.
pub(super) struct Gelu;

/// `Q(a) = Σ_i ROOT[i] a^i`.
const ROOT: [f32; 9] = [
    0.917_004,
    -0.091_457_285,
    -0.031_928_673,
    -6.707_181_5e-4,
    0.001_502_986_9,
    3.515_735_4e-5,
    -6.056_169_5e-5,
    7.535_537_4e-6,
    -3.000_512_8e-7,
];

/// The polynomial with these coefficients, that of the constant first.
#[inline(always)]
fn polynomial<S: Simd>(s: S, x: S::F, coefficients: [f32; 9]) -> S::F {
    let mut value = s.splat(coefficients[8]);
    for coefficient in coefficients[..8].iter().rev() {
        value = s.fma(value, x, s.splat(*coefficient));
    }
    value
}

impl Activation for Gelu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        let a = s.min(s.abs(x), s.splat(8.0));
        let root = polynomial(s, a, ROOT);
        let square = s.mul(root, root);
        let fourth = s.mul(square, square);
        s.sub(s.max(s.zero(), x), s.mul(s.mul(a, fourth), fourth))
    }

    /// `1 - g(x)` on the right of 0 and `g(-x)` on the left, where `g(a) = d/da a Q⁸ = Q⁷ (Q + 8 a Q')`.
    #[inline(always)]
    fn slope<S: Simd>(s: S, x: S::F) -> S::F {
        let a = s.min(s.abs(x), s.splat(8.0));
        let root = polynomial(s, a, ROOT);
        // Each coefficient of `Q + 8 a Q'` is one of `Q` times `1 + 8 i`.
        let factor = polynomial(s, a, std::array::from_fn(|i| ROOT[i] * (1 + 8 * i) as f32));
        let square = s.mul(root, root);
        let fourth = s.mul(square, square);
        let left = s.mul(s.mul(s.mul(square, fourth), root), factor);
        s.select_less(x, s.zero(), left, s.sub(s.splat(1.0), left))
    }
}

/// `x/2 (1 + tanh z) = x σ(2 z)` with `z = √(2/π) (x + 0.044715 x³)`.
pub(super) struct GeluTanh;

const CUBIC: f32 = 0.044_715;
/// `2 √(2/π)`
const INNER: f32 = 1.595_769;

impl Activation for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        s.mul(x, Self::share(s, x))
    }

    /// `σ + x σ (1 - σ) · 2 z'`, `z' = √(2/π) (1 + 3 · 0.044715 x²)`
    #[inline(always)]
    fn slope<S: Simd>(s: S, x: S::F) -> S::F {
        let one = s.splat(1.0);
        let share = Self::share(s, x);
        // Beyond 10, 1 - σ or σ is zero; x² must not become infinite there.
        let near = s.max(s.min(x, s.splat(10.0)), s.splat(-10.0));
        let inner = s.fma(s.mul(near, near), s.splat(3.0 * CUBIC * INNER), s.splat(INNER));
        s.mul(share, s.fma(s.mul(near, inner), s.sub(one, share), one))
    }
}

impl GeluTanh {
    /// `σ(2 z)`
    #[inline(always)]
    fn share<S: Simd>(s: S, x: S::F) -> S::F {
        let cubic = s.fma(s.mul(x, x), s.splat(CUBIC * INNER), s.splat(INNER));
        s.sigmoid(s.mul(x, cubic))
    }
}

/// `x σ(x)`
pub(crate) struct Silu;

impl Activation for Silu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        s.mul(x, s.sigmoid(x))
    }

    /// `σ (1 + x (1 - σ))`
    #[inline(always)]
    fn slope<S: Simd>(s: S, x: S::F) -> S::F {
        let one = s.splat(1.0);
        let sigmoid = s.sigmoid(x);
        s.mul(sigmoid, s.fma(x, s.sub(one, sigmoid), one))
    }
}

//! Activation functions on slices, alone and as gates, forward and backward.
//!
//! - GELU: `x Φ(x)` with the normal distribution function `Φ`, exactly (`erf`) or with its published `tanh` form
//!   `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`: Hendrycks and Gimpel 2016, arXiv:1606.08415;
//! - SiLU: `x σ(x)`, from the same paper;
//! - gated: `f(gate) · up` with `f` SiLU (SwiGLU) or GELU (GEGLU): Shazeer 2020, arXiv:2002.05202.
//!
//! All slices of a call have the same length.

use std::marker::PhantomData;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Values worth handing to a thread.
const PART: usize = 1 << 14;

/// `y = x Φ(x)`, with `erf`.
pub fn gelu(x: &[f32], y: &mut [f32]) {
    map::<Gelu>(x, y);
}

/// `dx = dy · gelu'(x)`.
pub fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Gelu>(x, dy, dx);
}

/// GELU in its `tanh` form.
pub fn gelu_tanh(x: &[f32], y: &mut [f32]) {
    map::<GeluTanh>(x, y);
}

/// `dx = dy · gelu_tanh'(x)`.
pub fn gelu_tanh_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<GeluTanh>(x, dy, dx);
}

/// `y = x σ(x)`.
pub fn silu(x: &[f32], y: &mut [f32]) {
    map::<Silu>(x, y);
}

/// `dx = dy · silu'(x)`.
pub fn silu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_backward::<Silu>(x, dy, dx);
}

/// `y = silu(gate) · up`.
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    gated::<Silu>(gate, up, y);
}

/// `d_gate = dy · up · silu'(gate)`, `d_up = dy · silu(gate)`.
pub fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    gated_backward::<Silu>(gate, up, dy, d_gate, d_up);
}

/// `y = gelu_tanh(gate) · up`.
pub fn geglu_tanh(gate: &[f32], up: &[f32], y: &mut [f32]) {
    gated::<GeluTanh>(gate, up, y);
}

/// `d_gate = dy · up · gelu_tanh'(gate)`, `d_up = dy · gelu_tanh(gate)`.
pub fn geglu_tanh_backward(gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    gated_backward::<GeluTanh>(gate, up, dy, d_gate, d_up);
}

/// A function with its derivative.
trait Activation: Sync {
    fn value<S: Simd>(s: S, x: S::F) -> S::F;
    fn slope<S: Simd>(s: S, x: S::F) -> S::F;
}

struct Gelu;
struct GeluTanh;
struct Silu;

/// `Φ(x)`
#[inline(always)]
fn normal_distribution<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.splat(0.5);
    s.fma(half, s.erf(s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}

impl Activation for Gelu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        s.mul(x, normal_distribution(s, x))
    }

    /// `Φ(x) + x e^{-x²/2} / √(2π)`
    #[inline(always)]
    fn slope<S: Simd>(s: S, x: S::F) -> S::F {
        let density = s.mul(s.exp(s.mul(s.mul(x, x), s.splat(-0.5))), s.splat(0.398_942_3));
        s.fma(x, density, normal_distribution(s, x))
    }
}

const CUBIC: f32 = 0.044_715;
/// `√(2/π)`
const INNER: f32 = 0.797_884_6;

/// `tanh(√(2/π) (x + 0.044715 x³))`
#[inline(always)]
fn inner_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let cubic = s.fma(s.mul(x, x), s.splat(CUBIC), s.splat(1.0));
    s.tanh(s.mul(s.mul(x, s.splat(INNER)), cubic))
}

impl Activation for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        let half = s.splat(0.5);
        s.mul(x, s.fma(half, inner_tanh(s, x), half))
    }

    /// `(1 + t)/2 + x/2 (1 - t²) √(2/π) (1 + 3 · 0.044715 x²)`
    #[inline(always)]
    fn slope<S: Simd>(s: S, x: S::F) -> S::F {
        let (half, one) = (s.splat(0.5), s.splat(1.0));
        let t = inner_tanh(s, x);
        // Beyond 10, 1 - t² is zero; x² must not become infinite there.
        let near = s.max(s.min(x, s.splat(10.0)), s.splat(-10.0));
        let inner = s.fma(s.mul(near, near), s.splat(3.0 * CUBIC), one);
        let steep = s.mul(s.mul(s.mul(near, s.splat(0.5 * INNER)), inner), s.sub(one, s.mul(t, t)));
        s.add(s.fma(half, t, half), steep)
    }
}

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

fn map<A: Activation>(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "y is as long as x");
    let _span = profile::span("activation").work(|| Work::bytes(2 * size_of_val(x)));
    parallel::pieces(y, PART, |piece, y| {
        dispatch(Map::<A>(&x[piece * PART..][..y.len()], y, PhantomData));
    });
}

struct Map<'a, A>(&'a [f32], &'a mut [f32], PhantomData<A>);

impl<A: Activation> Kernel for Map<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.0.len()).step_by(LANES) {
            s.write(self.1, at, A::value(s, s.read(self.0, at, 0.0)));
        }
    }
}

fn map_backward<A: Activation>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dy.len() && x.len() == dx.len(), "x, dy and dx have the same length");
    let _span = profile::span("activation, backward").work(|| Work::bytes(3 * size_of_val(x)));
    parallel::pieces(dx, PART, |piece, dx| {
        let (at, length) = (piece * PART, dx.len());
        dispatch(MapBackward::<A>(&x[at..][..length], &dy[at..][..length], dx, PhantomData));
    });
}

struct MapBackward<'a, A>(&'a [f32], &'a [f32], &'a mut [f32], PhantomData<A>);

impl<A: Activation> Kernel for MapBackward<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.0.len()).step_by(LANES) {
            s.write(self.2, at, s.mul(s.read(self.1, at, 0.0), A::slope(s, s.read(self.0, at, 0.0))));
        }
    }
}

fn gated<A: Activation>(gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == y.len(), "gate, up and y have the same length");
    let _span = profile::span("gated activation").work(|| Work::bytes(3 * size_of_val(gate)));
    parallel::pieces(y, PART, |piece, y| {
        let (at, length) = (piece * PART, y.len());
        dispatch(Gated::<A>(&gate[at..][..length], &up[at..][..length], y, PhantomData));
    });
}

struct Gated<'a, A>(&'a [f32], &'a [f32], &'a mut [f32], PhantomData<A>);

impl<A: Activation> Kernel for Gated<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.0.len()).step_by(LANES) {
            s.write(self.2, at, s.mul(A::value(s, s.read(self.0, at, 0.0)), s.read(self.1, at, 0.0)));
        }
    }
}

fn gated_backward<A: Activation>(gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let total = gate.len();
    assert!([up.len(), dy.len(), d_gate.len(), d_up.len()] == [total; 4], "all five slices have the same length");
    let _span = profile::span("gated activation, backward").work(|| Work::bytes(5 * size_of_val(gate)));
    let d_up = Disjoint::new(d_up);
    parallel::pieces(d_gate, PART, |piece, d_gate| {
        let (at, length) = (piece * PART, d_gate.len());
        // SAFETY: pieces own different ranges, and both gradients have the same length.
        let d_up = unsafe { d_up.range(at, length) };
        let (gate, up, dy) = (&gate[at..][..length], &up[at..][..length], &dy[at..][..length]);
        dispatch(GatedBackward::<A> { gate, up, dy, d_gate, d_up, activation: PhantomData });
    });
}

struct GatedBackward<'a, A> {
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    d_gate: &'a mut [f32],
    d_up: &'a mut [f32],
    activation: PhantomData<A>,
}

impl<A: Activation> Kernel for GatedBackward<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.gate.len()).step_by(LANES) {
            let (gate, dy) = (s.read(self.gate, at, 0.0), s.read(self.dy, at, 0.0));
            let d_gate = s.mul(s.mul(dy, s.read(self.up, at, 0.0)), A::slope(s, gate));
            s.write(self.d_gate, at, d_gate);
            s.write(self.d_up, at, s.mul(dy, A::value(s, gate)));
        }
    }
}

#[cfg(test)]
mod tests;

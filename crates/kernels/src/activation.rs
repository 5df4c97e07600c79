//! Activation functions on slices, alone and as gates, forward and backward.
//!
//! - GELU: `x Φ(x)` with the normal distribution function `Φ`, exactly (`erf`) or with its published `tanh` form
//!   `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`: Hendrycks and Gimpel 2016, arXiv:1606.08415;
//! - SiLU: `x σ(x)`, from the same paper;
//! - gated: `f(gate) · up` with `f` SiLU (SwiGLU) or GELU (GEGLU): Shazeer 2020, arXiv:2002.05202.
//!
//! Those with `bias_` in their name add a bias to every row first; all slices of every other call have the same length.

mod biased;
pub(crate) mod functions;

use std::marker::PhantomData;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, Simd, dispatch, slices};

pub use biased::{
    bias_gelu, bias_gelu_backward, bias_gelu_tanh, bias_gelu_tanh_backward, bias_silu, bias_silu_backward,
};
use functions::{Activation, Gelu, GeluTanh, Silu};

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
        slices::map(
            s,
            [self.0],
            0.0,
            [self.1],
            #[inline(always)]
            |[x]| [A::value(s, x)],
        );
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
        slices::map(
            s,
            [self.0, self.1],
            0.0,
            [self.2],
            #[inline(always)]
            |[x, dy]| [s.mul(dy, A::slope(s, x))],
        );
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
        slices::map(
            s,
            [self.0, self.1],
            0.0,
            [self.2],
            #[inline(always)]
            |[gate, up]| [s.mul(A::value(s, gate), up)],
        );
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
        slices::map(
            s,
            [self.gate, self.up, self.dy],
            0.0,
            [self.d_gate, self.d_up],
            #[inline(always)]
            |[gate, up, dy]| [s.mul(s.mul(dy, up), A::slope(s, gate)), s.mul(dy, A::value(s, gate))],
        );
    }
}

#[cfg(test)]
mod tests;

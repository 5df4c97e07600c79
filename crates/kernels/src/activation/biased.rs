//! A bias and the activation after it in one pass: `y = f(x + bias)`, with rows of `x` as wide as `bias`.
//!
//! Backward `dx = dy · f'(x + bias)`, and the gradient of the bias is the sum of the rows of `dx`.

use std::marker::PhantomData;

use super::functions::{Activation, Gelu, GeluTanh, Silu};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, Simd, dispatch, slices};
use crate::sum_rows::{GROUP, add_rows, sum_rows};

/// Values worth handing to a thread.
const PART: usize = 1 << 14;

/// `y = gelu(x + bias)` for each row.
///
/// # Panics
/// If `x` is not rows as wide as `bias`, or `y` has another length; so do the other functions here.
pub fn bias_gelu(x: &[f32], bias: &[f32], y: &mut [f32]) {
    forward::<Gelu>(x, bias, y);
}

/// Writes the gradient of `x` in [`bias_gelu`] to `dx` and adds that of the bias to `d_bias`.
pub fn bias_gelu_backward(x: &[f32], bias: &[f32], dy: &[f32], dx: &mut [f32], d_bias: &mut [f32]) {
    backward::<Gelu>(x, bias, dy, dx, d_bias);
}

/// `y = gelu_tanh(x + bias)` for each row.
pub fn bias_gelu_tanh(x: &[f32], bias: &[f32], y: &mut [f32]) {
    forward::<GeluTanh>(x, bias, y);
}

/// Writes the gradient of `x` in [`bias_gelu_tanh`] to `dx` and adds that of the bias to `d_bias`.
pub fn bias_gelu_tanh_backward(x: &[f32], bias: &[f32], dy: &[f32], dx: &mut [f32], d_bias: &mut [f32]) {
    backward::<GeluTanh>(x, bias, dy, dx, d_bias);
}

/// `y = silu(x + bias)` for each row.
pub fn bias_silu(x: &[f32], bias: &[f32], y: &mut [f32]) {
    forward::<Silu>(x, bias, y);
}

/// Writes the gradient of `x` in [`bias_silu`] to `dx` and adds that of the bias to `d_bias`.
pub fn bias_silu_backward(x: &[f32], bias: &[f32], dy: &[f32], dx: &mut [f32], d_bias: &mut [f32]) {
    backward::<Silu>(x, bias, dy, dx, d_bias);
}

/// The number of rows in `x`.
fn check_rows(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} values are not rows of {width}", x.len());
    x.len() / width
}

fn forward<A: Activation>(x: &[f32], bias: &[f32], y: &mut [f32]) {
    check_rows(x, bias.len());
    assert_eq!(x.len(), y.len(), "y is as long as x");
    let _span = profile::span("activation").work(|| Work::bytes(2 * size_of_val(x)));
    let length = (PART / bias.len()).max(1) * bias.len();
    parallel::pieces(y, length, |piece, y| {
        dispatch(Biased::<A>(&x[piece * length..][..y.len()], bias, y, PhantomData));
    });
}

/// From `x` and the bias to `y`.
pub(super) struct Biased<'a, A>(pub &'a [f32], pub &'a [f32], pub &'a mut [f32], pub PhantomData<A>);

impl<A: Activation> Kernel for Biased<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(x, bias, y, _) = self;
        for (x, y) in x.chunks_exact(bias.len()).zip(y.chunks_exact_mut(bias.len())) {
            slices::map(
                s,
                [x, bias],
                0.0,
                [y],
                #[inline(always)]
                |[x, bias]| [A::value(s, s.add(x, bias))],
            );
        }
    }
}

fn backward<A: Activation>(x: &[f32], bias: &[f32], dy: &[f32], dx: &mut [f32], d_bias: &mut [f32]) {
    let (width, rows) = (bias.len(), check_rows(x, bias.len()));
    assert!(dy.len() == x.len() && dx.len() == x.len(), "dy and dx are as long as x");
    assert_eq!(d_bias.len(), width, "a gradient for each bias");
    let _span = profile::span("activation, backward").work(|| Work::bytes(3 * size_of_val(x)));
    let dx = Disjoint::new(dx);
    let sums = sum_rows(rows, width, |rows, d_bias| {
        let (start, length) = (rows.start * width, rows.len() * width);
        // SAFETY: parts own different rows, all inside a slice as long as `x`.
        let dx = unsafe { dx.range(start, length) };
        let (x, dy) = (&x[start..][..length], &dy[start..][..length]);
        dispatch(BiasedBackward::<A> { x, bias, dy, dx, d_bias, activation: PhantomData });
    });
    d_bias.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
}

/// From `x`, the bias and `dy` to `dx` and the sum of its rows.
pub(super) struct BiasedBackward<'a, A> {
    pub x: &'a [f32],
    pub bias: &'a [f32],
    pub dy: &'a [f32],
    pub dx: &'a mut [f32],
    pub d_bias: &'a mut [f32],
    pub activation: PhantomData<A>,
}

impl<A: Activation> Kernel for BiasedBackward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, bias, dy, dx, d_bias, .. } = self;
        let width = bias.len();
        for (group, dx) in dx.chunks_mut(GROUP * width).enumerate() {
            let start = group * GROUP * width;
            let rows = x[start..].chunks_exact(width).zip(dy[start..].chunks_exact(width));
            for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
                slices::map(
                    s,
                    [x, bias, dy],
                    0.0,
                    [dx],
                    #[inline(always)]
                    |[x, bias, dy]| [s.mul(dy, A::slope(s, s.add(x, bias)))],
                );
            }
            add_rows(s, dx, d_bias);
        }
    }
}

//! The norms and their gradients, row by row. `CENTRED` is LayerNorm, otherwise RMSNorm.

use crate::simd::{Kernel, Simd, slices};

/// The mean (0 unless `CENTRED`) and the factor `r` of a row.
#[inline(always)]
fn moments<S: Simd, const CENTRED: bool>(s: S, x: &[f32], epsilon: f32) -> (f32, f32) {
    let width = x.len() as f32;
    let mean = if CENTRED {
        let [sum] = slices::sums(
            s,
            [x],
            [0.0],
            #[inline(always)]
            |[x]| [x],
        );
        sum / width
    } else {
        0.0
    };
    // Missing lanes are at the mean, so they add nothing.
    let [squares] = slices::sums(
        s,
        [x],
        [mean],
        #[inline(always)]
        |[x]| {
            let deviation = s.sub(x, s.splat(mean));
            [s.mul(deviation, deviation)]
        },
    );
    (mean, 1.0 / (squares / width + epsilon).sqrt())
}

/// What is added to the rows before they are normalised, and where the sum goes.
pub(super) struct Residual<'a> {
    pub residual: &'a [f32],
    pub sum: &'a mut [f32],
}

/// Normalises the rows of `x`, or of its sum with the residual.
pub(super) struct Forward<'a, const CENTRED: bool> {
    pub x: &'a [f32],
    pub residual: Option<Residual<'a>>,
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub epsilon: f32,
    pub y: &'a mut [f32],
}

impl<const CENTRED: bool> Kernel for Forward<'_, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, mut residual, weight, bias, epsilon, y } = self;
        let width = weight.len();
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            let row = row * width..(row + 1) * width;
            let mut x = &x[row.clone()];
            if let Some(Residual { residual, sum }) = &mut residual {
                let sum = &mut sum[row.clone()];
                slices::map(
                    s,
                    [x, &residual[row]],
                    0.0,
                    [&mut *sum],
                    #[inline(always)]
                    |[x, residual]| [s.add(x, residual)],
                );
                x = sum;
            }
            normalise::<S, CENTRED>(s, x, weight, bias, epsilon, y);
        }
    }
}

#[inline(always)]
fn normalise<S: Simd, const CENTRED: bool>(
    s: S,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    y: &mut [f32],
) {
    let (mean, factor) = moments::<S, CENTRED>(s, x, epsilon);
    let (mean, factor) = (s.splat(mean), s.splat(factor));
    match bias {
        Some(bias) => slices::map(
            s,
            [x, weight, bias],
            0.0,
            [y],
            #[inline(always)]
            |[x, weight, bias]| [s.fma(s.mul(s.sub(x, mean), factor), weight, bias)],
        ),
        None => slices::map(
            s,
            [x, weight],
            0.0,
            [y],
            #[inline(always)]
            |[x, weight]| [s.mul(s.mul(s.sub(x, mean), factor), weight)],
        ),
    }
}

/// The gradients of the rows of `x`, plus `d_other`; those of the weight and the bias are added to what is there.
pub(super) struct Backward<'a, const CENTRED: bool> {
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub epsilon: f32,
    pub dy: &'a [f32],
    pub d_other: Option<&'a [f32]>,
    pub dx: &'a mut [f32],
    pub d_weight: &'a mut [f32],
    pub d_bias: &'a mut [f32],
}

/// Rows whose share of the parameters' gradients is added up in registers.
const GROUP: usize = 4;

impl<const CENTRED: bool> Kernel for Backward<'_, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, weight, epsilon, dy, d_other, dx, d_weight, d_bias } = self;
        let width = weight.len();
        for (group, dx) in dx.chunks_mut(GROUP * width).enumerate() {
            let start = group * GROUP * width;
            let (x, dy) = (&x[start..][..dx.len()], &dy[start..][..dx.len()]);
            let mut moments = [(0.0, 0.0); GROUP];
            for ((row, dx), moments) in dx.chunks_exact_mut(width).enumerate().zip(&mut moments) {
                let at = row * width;
                let (x, dy) = (&x[at..][..width], &dy[at..][..width]);
                let d_other = d_other.map(|d_other| &d_other[start + at..][..width]);
                *moments = input_gradient::<S, CENTRED>(s, x, weight, epsilon, dy, d_other, dx);
            }
            if x.len() == GROUP * width {
                parameter_gradients::<S, CENTRED, GROUP>(s, x, dy, moments, d_weight, d_bias);
            } else {
                for ((x, dy), moments) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(moments) {
                    parameter_gradients::<S, CENTRED, 1>(s, x, dy, [moments], d_weight, d_bias);
                }
            }
        }
    }
}

/// Writes `dx` of a row and returns its moments.
#[inline(always)]
fn input_gradient<S: Simd, const CENTRED: bool>(
    s: S,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    d_other: Option<&[f32]>,
    dx: &mut [f32],
) -> (f32, f32) {
    let (mean, factor) = moments::<S, CENTRED>(s, x, epsilon);
    let centre = s.splat(mean);
    // Missing lanes have no gradient, so they add nothing.
    let [sum, product] = slices::sums(
        s,
        [x, weight, dy],
        [mean, 0.0, 0.0],
        #[inline(always)]
        |[x, weight, dy]| {
            let g = s.mul(weight, dy);
            [if CENTRED { g } else { s.zero() }, s.mul(g, s.sub(x, centre))]
        },
    );
    // dx = r g - r³ (x - μ) mean(g (x - μ)) - r mean(g)
    let n = x.len() as f32;
    let slope = s.splat(-(factor * (product / n)) * factor * factor);
    let (scale, shift) = (s.splat(factor), s.splat(-factor * (sum / n)));
    match d_other {
        Some(d_other) => slices::map(
            s,
            [x, weight, dy, d_other],
            0.0,
            [dx],
            #[inline(always)]
            |[x, weight, dy, d_other]| {
                [s.fma(s.mul(weight, dy), scale, s.fma(s.sub(x, centre), slope, s.add(shift, d_other)))]
            },
        ),
        None => slices::map(
            s,
            [x, weight, dy],
            0.0,
            [dx],
            #[inline(always)]
            |[x, weight, dy]| [s.fma(s.mul(weight, dy), scale, s.fma(s.sub(x, centre), slope, shift))],
        ),
    }
    (mean, factor)
}

/// Adds the gradients of the weight and the bias over `ROWS` rows, one row after another.
#[inline(always)]
fn parameter_gradients<S: Simd, const CENTRED: bool, const ROWS: usize>(
    s: S,
    x: &[f32],
    dy: &[f32],
    moments: [(f32, f32); ROWS],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let width = d_weight.len();
    let rows: [[&[f32]; 2]; ROWS] =
        std::array::from_fn(|row| [&x[row * width..][..width], &dy[row * width..][..width]]);
    slices::update(
        s,
        rows,
        [d_weight, d_bias],
        #[inline(always)]
        |rows, [mut d_weight, mut d_bias]| {
            for ([x, dy], (mean, factor)) in rows.into_iter().zip(moments) {
                let normal = s.mul(s.sub(x, s.splat(mean)), s.splat(factor));
                d_weight = s.fma(dy, normal, d_weight);
                if CENTRED {
                    d_bias = s.add(d_bias, dy);
                }
            }
            [d_weight, d_bias]
        },
    );
}

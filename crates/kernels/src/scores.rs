//! Passes over the scores of a row from which one is chosen: the largest, and the exponentials `e^{(x_i - shift) · scale}`.
//!
//! Sums are taken by blocks, so that a draw finds its block first and looks into that one only. A NaN is no score: it is
//! never the largest, and its exponential is 0.

use crate::simd::{Kernel, Simd, dispatch, slices};

/// Scores of a block.
pub const BLOCK: usize = 512;

/// Where the largest of `x` stands, the first among equals; none if there is none above −∞.
pub fn largest(x: &[f32]) -> Option<usize> {
    dispatch(Largest(x))
}

/// The sums of `e^{(x_i - shift) · scale}` over every [`BLOCK`] of `x`, the last of which may be shorter.
///
/// `shift` is at least the largest of `x` and finite, `scale` is not negative.
///
/// # Panics
/// If there are not as many `sums` as blocks.
pub fn block_sums(x: &[f32], shift: f32, scale: f32, sums: &mut [f32]) {
    assert_eq!(sums.len(), x.len().div_ceil(BLOCK), "a sum for every block");
    dispatch(BlockSums { x, shift, scale, sums });
}

/// Writes `e^{(x_i - shift) · scale}` of every element of `x` to `y`; `shift` and `scale` as for [`block_sums`].
///
/// # Panics
/// If `y` has another length than `x`.
pub fn exponentials(x: &[f32], shift: f32, scale: f32, y: &mut [f32]) {
    dispatch(Exponentials { x, shift, scale, y });
}

struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Option<usize> {
        let (mut block, mut most) = (0, f32::NEG_INFINITY);
        for (index, x) in self.0.chunks(BLOCK).enumerate() {
            let mut largest = s.splat(f32::NEG_INFINITY);
            for at in (0..x.len()).step_by(crate::simd::LANES) {
                // The order matters: the second is taken if the first is NaN.
                largest = s.max(s.read(x, at, f32::NEG_INFINITY), largest);
            }
            let largest = s.largest(largest);
            if largest > most {
                (block, most) = (index, largest);
            }
        }
        let within = self.0.get(block * BLOCK..)?.iter().position(|&x| x == most)?;
        (most > f32::NEG_INFINITY).then_some(block * BLOCK + within)
    }
}

/// `e^{(x - shift) · scale}`, 0 for NaN.
#[inline(always)]
fn exponential<S: Simd>(s: S, x: S::F, shift: S::F, scale: S::F) -> S::F {
    let exponent = s.mul(s.sub(x, shift), scale);
    // −∞ · 0 is NaN as well, and is 0 here: what cannot be chosen is not chosen at any scale.
    s.exp_below_zero(s.max(exponent, s.splat(f32::MIN)))
}

struct BlockSums<'a> {
    x: &'a [f32],
    shift: f32,
    scale: f32,
    sums: &'a mut [f32],
}

impl Kernel for BlockSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (shift, scale) = (s.splat(self.shift), s.splat(self.scale));
        for (x, sum) in self.x.chunks(BLOCK).zip(self.sums) {
            // Missing lanes add e^−∞ = 0.
            [*sum] = slices::sums(
                s,
                [x],
                [f32::NEG_INFINITY],
                #[inline(always)]
                |[x]| [exponential(s, x, shift, scale)],
            );
        }
    }
}

struct Exponentials<'a> {
    x: &'a [f32],
    shift: f32,
    scale: f32,
    y: &'a mut [f32],
}

impl Kernel for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (shift, scale) = (s.splat(self.shift), s.splat(self.scale));
        slices::map(
            s,
            [self.x],
            f32::NEG_INFINITY,
            [self.y],
            #[inline(always)]
            |[x]| [exponential(s, x, shift, scale)],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, dispatch_at};

    fn row(length: usize) -> Vec<f32> {
        (0..length).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 3.0).collect()
    }

    const LENGTHS: [usize; 8] = [1, 15, 16, 17, 511, 512, 513, 3000];

    #[test]
    fn the_first_of_the_largest_is_found() {
        for level in Level::available() {
            let found = |x: &[f32]| dispatch_at(level, Largest(x));
            for length in LENGTHS {
                let mut x = row(length);
                x[length / 2] = 50.0;
                x[length - 1] = 50.0;
                assert_eq!(found(&x), Some(length / 2), "{level:?} {length}");
            }
            assert_eq!(found(&[f32::NAN, 1.0, f32::NAN, 2.0, f32::NAN]), Some(3), "{level:?}");
            assert_eq!(found(&[1.0, f32::INFINITY, f32::INFINITY]), Some(1), "{level:?}");
            for nothing in [&[][..], &[f32::NEG_INFINITY; 3], &[f32::NAN; 600]] {
                assert_eq!(found(nothing), None, "{level:?}");
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_blocks() {
        for level in Level::available() {
            for (length, scale) in LENGTHS.into_iter().flat_map(|length| [(length, 1.0), (length, 0.1)]) {
                let mut x = row(length);
                x[0] = f32::NEG_INFINITY;
                let (mut y, mut sums) = (vec![9.0; length], vec![9.0; length.div_ceil(BLOCK)]);
                dispatch_at(level, Exponentials { x: &x, shift: 8.0, scale, y: &mut y });
                dispatch_at(level, BlockSums { x: &x, shift: 8.0, scale, sums: &mut sums });
                assert_eq!(y[0], 0.0);
                for (x, y) in x.iter().zip(&y) {
                    let exact = (f64::from(x - 8.0) * f64::from(scale)).exp();
                    assert!((f64::from(*y) - exact).abs() <= 2e-6 * exact, "{level:?} {x} {y}");
                }
                for (block, sum) in y.chunks(BLOCK).zip(&sums) {
                    let exact: f64 = block.iter().map(|&y| f64::from(y)).sum();
                    assert!((f64::from(*sum) - exact).abs() <= 1e-5 * exact, "{level:?} {sum} {exact}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_score_weighs_nothing() {
        let x = [f32::NAN, f32::NEG_INFINITY, 0.0, -1e30];
        for scale in [0.0, 1.0, 1e30] {
            let mut y = [9.0; 4];
            exponentials(&x, 0.0, scale, &mut y);
            assert_eq!(y[..3], [0.0, 0.0, 1.0], "{scale}");
        }
    }
}

//! Loops over slices of one length, sixteen values at a time: whole vectors without a check, then the rest once.
//!
//! The loops over the slices themselves go by index: so they are unrolled, which closures given to arrays are not always.

#![allow(clippy::needless_range_loop, reason = "unrolled, as said above")]

use super::{LANES, Simd};

/// A sum is taken in so many parts, so that an addition need not wait for the one before.
const CHAINS: usize = 4;

/// `outputs = f(inputs)`, element by element; the missing lanes of the last call are `fill`.
#[inline(always)]
pub(crate) fn map<S: Simd, const N: usize, const M: usize>(
    s: S,
    inputs: [&[f32]; N],
    fill: f32,
    mut outputs: [&mut [f32]; M],
    mut f: impl FnMut([S::F; N]) -> [S::F; M],
) {
    let length = outputs[0].len();
    assert!(inputs.iter().all(|input| input.len() == length), "all slices have {length} elements");
    assert!(outputs.iter().all(|output| output.len() == length), "all slices have {length} elements");
    let whole = length - length % LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + 16` is at most `whole`, and every slice has that many elements.
        let values = f(unsafe { load(s, &inputs, at) });
        // SAFETY: as above.
        unsafe { store(s, &mut outputs, at, values) };
    }
    if whole < length {
        let values = f(load_rest(s, &inputs, whole, [fill; N]));
        store_rest(s, &mut outputs, whole, values);
    }
}

/// `values = f(inputs, values)`, element by element, with `R` rows of `N` slices as inputs; the missing lanes of the last call
/// are 0.
#[inline(always)]
pub(crate) fn update<S: Simd, const N: usize, const R: usize, const M: usize>(
    s: S,
    inputs: [[&[f32]; N]; R],
    mut values: [&mut [f32]; M],
    mut f: impl FnMut([[S::F; N]; R], [S::F; M]) -> [S::F; M],
) {
    let length = values[0].len();
    assert!(inputs.as_flattened().iter().all(|input| input.len() == length), "all slices have {length} elements");
    assert!(values.iter().all(|value| value.len() == length), "all slices have {length} elements");
    let whole = length - length % LANES;
    for at in (0..whole).step_by(LANES) {
        let mut rows = [[s.zero(); N]; R];
        let mut before = [s.zero(); M];
        for row in 0..R {
            // SAFETY: `at + 16` is at most `whole`, and every slice has that many elements.
            rows[row] = unsafe { load(s, &inputs[row], at) };
        }
        for i in 0..M {
            // SAFETY: as above.
            before[i] = unsafe { s.load(values[i], at) };
        }
        // SAFETY: as above.
        unsafe { store(s, &mut values, at, f(rows, before)) };
    }
    if whole < length {
        let mut rows = [[s.zero(); N]; R];
        let mut before = [s.zero(); M];
        for row in 0..R {
            rows[row] = load_rest(s, &inputs[row], whole, [0.0; N]);
        }
        for i in 0..M {
            before[i] = s.load_partial(&values[i][whole..], 0.0);
        }
        store_rest(s, &mut values, whole, f(rows, before));
    }
}

/// The sums over all elements of the terms `f(inputs)`.
///
/// The missing lanes of the last call are `fill`, with which every term must be 0.
#[inline(always)]
pub(crate) fn sums<S: Simd, const N: usize, const M: usize>(
    s: S,
    inputs: [&[f32]; N],
    fill: [f32; N],
    f: impl Fn([S::F; N]) -> [S::F; M],
) -> [f32; M] {
    let length = inputs[0].len();
    assert!(inputs.iter().all(|input| input.len() == length), "all slices have {length} elements");
    let mut totals = [[s.zero(); M]; CHAINS];
    let whole = length - length % LANES;
    let together = whole - whole % (CHAINS * LANES);
    for at in (0..together).step_by(CHAINS * LANES) {
        for chain in 0..CHAINS {
            // SAFETY: `at + 64` is at most `together`, and every slice has that many elements.
            let values = unsafe { load(s, &inputs, at + chain * LANES) };
            add(s, &mut totals[chain], f(values));
        }
    }
    for at in (together..whole).step_by(LANES) {
        // SAFETY: `at + 16` is at most `whole`, and every slice has that many elements.
        let values = unsafe { load(s, &inputs, at) };
        add(s, &mut totals[0], f(values));
    }
    if whole < length {
        add(s, &mut totals[0], f(load_rest(s, &inputs, whole, fill)));
    }
    let mut sums = [0.0; M];
    for i in 0..M {
        sums[i] = s.sum(s.add(s.add(totals[0][i], totals[1][i]), s.add(totals[2][i], totals[3][i])));
    }
    sums
}

/// The largest element, −∞ if there is none. A NaN may be passed over.
#[inline(always)]
pub(crate) fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut largest = [s.splat(f32::NEG_INFINITY); CHAINS];
    let whole = x.len() - x.len() % LANES;
    let together = whole - whole % (CHAINS * LANES);
    for at in (0..together).step_by(CHAINS * LANES) {
        for chain in 0..CHAINS {
            // SAFETY: `at + 64` is at most `together`.
            largest[chain] = s.max(largest[chain], unsafe { s.load(x, at + chain * LANES) });
        }
    }
    for at in (together..x.len()).step_by(LANES) {
        largest[0] = s.max(largest[0], s.read(x, at, f32::NEG_INFINITY));
    }
    s.largest(s.max(s.max(largest[0], largest[1]), s.max(largest[2], largest[3])))
}

#[inline(always)]
fn add<S: Simd, const M: usize>(s: S, totals: &mut [S::F; M], terms: [S::F; M]) {
    for i in 0..M {
        totals[i] = s.add(totals[i], terms[i]);
    }
}

/// Sixteen elements of each slice from `at` on.
///
/// # Safety
/// They must lie inside.
#[inline(always)]
unsafe fn load<S: Simd, const N: usize>(s: S, slices: &[&[f32]; N], at: usize) -> [S::F; N] {
    let mut values = [s.zero(); N];
    for i in 0..N {
        // SAFETY: the caller keeps the range inside every slice.
        values[i] = unsafe { s.load(slices[i], at) };
    }
    values
}

/// Stores sixteen elements to each slice from `at` on.
///
/// # Safety
/// They must lie inside.
#[inline(always)]
unsafe fn store<S: Simd, const N: usize>(s: S, slices: &mut [&mut [f32]; N], at: usize, values: [S::F; N]) {
    for i in 0..N {
        // SAFETY: the caller keeps the range inside every slice.
        unsafe { s.store(slices[i], at, values[i]) };
    }
}

/// What is left of each slice from `at` on; the missing lanes are `fill`.
#[inline(always)]
fn load_rest<S: Simd, const N: usize>(s: S, slices: &[&[f32]; N], at: usize, fill: [f32; N]) -> [S::F; N] {
    let mut values = [s.zero(); N];
    for i in 0..N {
        values[i] = s.load_partial(&slices[i][at..], fill[i]);
    }
    values
}

/// Stores to what is left of each slice from `at` on.
#[inline(always)]
fn store_rest<S: Simd, const N: usize>(s: S, slices: &mut [&mut [f32]; N], at: usize, values: [S::F; N]) {
    for i in 0..N {
        s.store_partial(&mut slices[i][at..], values[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, Level, dispatch_at};
    use super::*;

    /// Every loop over `a` and `b`: `-a` and `a + b`; `b + Σ a · b` over two rows; sums of `a` and `a · b`; the largest.
    struct Everything<'a>(&'a [f32], &'a [f32]);

    impl Kernel for Everything<'_> {
        type Output = (Vec<f32>, Vec<f32>, Vec<f32>, [f32; 3]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let Self(a, b) = self;
            let (mut negative, mut sum, mut changed) = (vec![9.0; a.len()], vec![9.0; a.len()], b.to_vec());
            map(s, [a, b], 0.0, [&mut negative, &mut sum], |[a, b]| [s.sub(s.zero(), a), s.add(a, b)]);
            update(s, [[a, b], [b, b]], [&mut changed], |[first, second], [value]| {
                [s.fma(first[0], first[1], s.fma(second[0], second[1], value))]
            });
            // With the missing lanes of `a` at 1 their terms are zero.
            let [shifted, product] = sums(s, [a, b], [1.0, 0.0], |[a, b]| [s.sub(a, s.splat(1.0)), s.mul(a, b)]);
            (negative, sum, changed, [shifted, product, largest(s, a)])
        }
    }

    #[test]
    fn loops_reach_every_element_once() {
        for length in [1, 15, 16, 17, 63, 64, 65, 80, 131, 200] {
            // Small whole numbers, so that every sum is exact.
            let a: Vec<f32> = (0..length).map(|i| ((i * 7 + 3) % 11) as f32 - 14.0).collect();
            let b: Vec<f32> = (0..length).map(|i| ((i * 5 + 1) % 13) as f32 - 6.0).collect();
            let pairs = || a.iter().zip(&b);
            for level in Level::available() {
                let (negative, sum, changed, totals) = dispatch_at(level, Everything(&a, &b));
                assert_eq!(negative, a.iter().map(|a| -a).collect::<Vec<_>>(), "{level:?} {length}");
                assert_eq!(sum, pairs().map(|(a, b)| a + b).collect::<Vec<_>>(), "{level:?} {length}");
                assert_eq!(changed, pairs().map(|(a, b)| b + b * b + a * b).collect::<Vec<_>>(), "{level:?} {length}");
                let shifted: f32 = a.iter().map(|a| a - 1.0).sum();
                let product: f32 = pairs().map(|(a, b)| a * b).sum();
                let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(totals, [shifted, product, largest], "{level:?} {length}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "17 elements")]
    fn slices_of_other_lengths_are_refused() {
        map(super::super::Scalar, [&[0.0; 16]], 0.0, [&mut [0.0; 17]], |x: [_; 1]| x);
    }
}

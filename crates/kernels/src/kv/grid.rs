//! The asymmetric quantiser of `int4` and KIVI: evenly spaced levels between the extremes of a group.
//!
//! `code = round((x - minimum) / scale)`, `x ≈ code · scale + minimum`, `scale = (max - min) / (2^bits - 1)`. Scale and
//! minimum are kept in half precision. The minimum is rounded down and the scale up, so that the levels span the whole
//! group and no element is off by more than half a scale.

use half::f16;

/// Numbers that share a scale and a minimum; the last group of a row may be shorter.
pub(super) const GROUP: usize = 32;

/// The largest half-precision number.
pub(super) const LARGEST: f32 = 65504.0;

/// Levels of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    scale: f32,
    minimum: f32,
    last: f32,
}

impl Grid {
    /// The levels for `values` with codes of `bits` bits. Values beyond the range of half precision count as its ends.
    pub fn fit(values: &[f32], bits: usize) -> Self {
        let last = ((1u32 << bits) - 1) as f32;
        // Eight extremes at once, which do not wait for each other.
        let (mut lows, mut highs) = ([LARGEST; 8], [-LARGEST; 8]);
        for values in values.chunks(8) {
            for ((low, high), &value) in lows.iter_mut().zip(&mut highs).zip(values) {
                *low = low.min(value);
                *high = high.max(value);
            }
        }
        let low = lows.into_iter().fold(LARGEST, f32::min);
        let high = highs.into_iter().fold(-LARGEST, f32::max);
        let minimum = round_down(low.max(-LARGEST));
        let scale = round_up((high.min(LARGEST) - minimum).max(0.0) / last);
        Self { scale, minimum, last }
    }

    /// The code of the level nearest to `value`.
    pub fn code(&self, value: f32) -> u8 {
        // A group of equal numbers has scale 0; 0 / 0 becomes code 0.
        nearest(((value - self.minimum) / self.scale).max(0.0).min(self.last)) as u8
    }

    /// The codes of at most [`GROUP`] values; the rest is 0.
    pub fn codes(&self, values: &[f32]) -> [u8; GROUP] {
        let mut codes = [0; GROUP];
        for (code, &value) in codes.iter_mut().zip(values) {
            *code = self.code(value);
        }
        codes
    }

    /// The scale, in half precision.
    pub fn scale_bits(&self) -> u16 {
        f16::from_f32(self.scale).to_bits()
    }

    /// The minimum, in half precision.
    pub fn minimum_bits(&self) -> u16 {
        f16::from_f32(self.minimum).to_bits()
    }
}

/// Decodes one number; the vector code computes the same, a product and a sum that are rounded one after the other.
pub(super) fn decode(code: u8, scale: u16, minimum: u16) -> f32 {
    f32::from(code) * f16::from_bits(scale).to_f32() + f16::from_bits(minimum).to_f32()
}

/// The nearest integer, ties to even, of a number below 2^22.
pub(super) fn nearest(value: f32) -> i32 {
    // At 1.5 · 2^23 neighbouring floats are 1 apart, so the sum's lowest bits are the integer.
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32
}

/// The largest half-precision number that is not above `value`.
fn round_down(value: f32) -> f32 {
    let near = f16::from_f32(value);
    if near.to_f32() <= value { near.to_f32() } else { -next_up(-near) }
}

/// The smallest half-precision number that is not below `value`.
fn round_up(value: f32) -> f32 {
    -round_down(-value)
}

/// The next half-precision number above `value`.
fn next_up(value: f16) -> f32 {
    let next = match value.to_bits() {
        0x0000 | 0x8000 => 0x0001,
        bits if bits & 0x8000 == 0 => bits + 1,
        bits => bits - 1,
    };
    f16::from_bits(next).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn decoded(grid: Grid, value: f32) -> f64 {
        f64::from(decode(grid.code(value), grid.scale_bits(), grid.minimum_bits()))
    }

    /// No element is off by more than half of the stored scale, which is hardly larger than the definition's.
    fn check(values: &[f32], bits: usize) {
        let grid = Grid::fit(values, bits);
        let wide = || values.iter().map(|&x| f64::from(x));
        let (low, high) = (wide().fold(f64::INFINITY, f64::min), wide().fold(f64::NEG_INFINITY, f64::max));
        let ideal = (high - low) / ((1 << bits) - 1) as f64;
        let scale = f64::from(grid.scale);
        // A half-precision number is followed by another within 2^-10 of it, or within 2^-24 near zero.
        let spacing = |x: f64| (x.abs() / 1024.0).max(1.0 / f64::from(1 << 24));
        let bound = ideal + spacing(low) / ((1 << bits) - 1) as f64;
        assert!(scale <= bound + spacing(bound), "{bits} bits: scale {scale}, defined as {ideal}");
        for &value in values {
            let error = (decoded(grid, value) - f64::from(value)).abs();
            let rounding = 1e-6 * (low.abs().max(high.abs()));
            assert!(error <= scale / 2.0 + rounding, "{bits} bits: {value} is off by {error}, scale {scale}");
        }
    }

    #[test]
    fn no_element_is_off_by_more_than_half_a_scale() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for bits in [2, 4] {
            for (offset, spread) in
                [(0.0, 1.0), (0.0, 1e4), (20.0, 0.1), (-3e4, 3e4), (0.0, 1e-6), (1e-7, 1e-8), (-500.0, 1e-3)]
            {
                for length in [1, 2, 8, 32] {
                    let values: Vec<f32> =
                        (0..length).map(|_| offset + spread * rng.random_range(-1.0f32..1.0)).collect();
                    check(&values, bits);
                }
            }
            check(&[0.0; 32], bits);
            check(&[1e4, -1e4, 0.0, 0.1], bits);
            check(&[LARGEST, -LARGEST, 1.0], bits);
        }
    }

    #[test]
    fn equal_numbers_lose_only_what_half_precision_does() {
        for value in [0.0f32, 1.0, -0.1, 1e4, -12345.678, 3e-6] {
            let error = (decoded(Grid::fit(&[value; 32], 4), value) - f64::from(value)).abs();
            assert!(error <= (f64::from(value).abs() / 1024.0).max(6e-8), "{value} {error}");
        }
        assert_eq!(decoded(Grid::fit(&[0.0; 7], 2), 0.0), 0.0);
        assert_eq!(decoded(Grid::fit(&[-2.5; 7], 2), -2.5), -2.5);
    }

    #[test]
    fn what_is_out_of_range_becomes_its_end_and_nothing_becomes_nan() {
        for bits in [2, 4] {
            let values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -1e30, 0.0];
            let grid = Grid::fit(&values, bits);
            let range = f64::from(grid.scale) * ((1 << bits) - 1) as f64;
            assert!(range >= 2.0 * f64::from(LARGEST) && range.is_finite());
            for value in values {
                assert!(decoded(grid, value).is_finite(), "{value}");
            }
            assert!(decoded(grid, f32::MAX) >= f64::from(LARGEST));
            assert!(decoded(grid, f32::NEG_INFINITY) <= -f64::from(LARGEST));
            for values in [[1e30; 4], [f32::NAN; 4], [f32::NEG_INFINITY; 4]] {
                assert!(decoded(Grid::fit(&values, bits), values[0]).is_finite(), "{values:?}");
            }
        }
    }

    #[test]
    fn directed_rounding_picks_the_neighbour() {
        let finite = (0..=u16::MAX).map(f16::from_bits).filter(|x| x.is_finite());
        let mut sorted: Vec<f32> = finite.map(f16::to_f32).collect();
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        for pair in sorted.windows(2) {
            let [low, high] = [pair[0], pair[1]];
            assert_eq!((round_down(low), round_up(low)), (low, low));
            for part in [0.01, 0.5, 0.99] {
                let between = low + (high - low) * part;
                assert_eq!((round_down(between), round_up(between)), (low, high), "{between}");
            }
        }
    }

    #[test]
    fn nearest_rounds_ties_to_even() {
        for step in -1024..1024 {
            let value = step as f32 / 4.0;
            assert_eq!(nearest(value), value.round_ties_even() as i32, "{value}");
        }
    }
}

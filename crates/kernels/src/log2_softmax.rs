//! Softmax whose weights are powers of two, so that multiplying by them is a shift. Lin et al. 2022 (FQ-ViT), arXiv:2111.13824.
//!
//! A weight `p` has the code `round(-log₂ p)` and counts as `2^-code`: within a factor of √2. Weights whose code does not fit into the
//! bits are zero. Rows are not brought back to a sum of one, as published.

use crate::softmax::softmax;

/// The code of a weight in `0..=1`; none if it is too small for `bits`.
pub fn code(weight: f32, bits: u32) -> Option<u32> {
    let code = (-f64::from(weight).log2()).round();
    (code < f64::from(1u32 << bits)).then_some(code.max(0.0) as u32)
}

/// Writes the softmax of each row of `x`, in powers of two with codes of `bits`, to `y`.
///
/// # Panics
/// If `x` is not rows of `width`, `y` has another length, or `bits` is not in `1..=8`.
pub fn log2_softmax(x: &[f32], width: usize, bits: u32, y: &mut [f32]) {
    assert!((1..=8).contains(&bits), "{bits} bits: 1 to 8");
    softmax(x, width, y);
    y.iter_mut().filter(|weight| !weight.is_nan()).for_each(|weight| {
        *weight = code(*weight, bits).map_or(0.0, |code| (-f64::from(code)).exp2() as f32);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_powers_of_two_within_the_root_of_two() {
        let width = 96;
        let x: Vec<f32> = (0..2 * width).map(|i| ((i * 53) % 97) as f32 / 8.0).collect();
        let (mut exact, mut found) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
        softmax(&x, width, &mut exact);
        for bits in [2, 4, 8] {
            log2_softmax(&x, width, bits, &mut found);
            let smallest = (0.5 - f64::from(1u32 << bits)).exp2() as f32;
            for (&exact, &found) in exact.iter().zip(&found) {
                match found == 0.0 {
                    true => assert!(exact <= smallest * 1.0001, "{exact} is lost with {bits} bits"),
                    false => {
                        assert_eq!(found.log2().fract(), 0.0);
                        let factor = f64::from(found / exact);
                        assert!(factor.log2().abs() <= 0.5 + 1e-6, "{found} for {exact}");
                    }
                }
            }
        }
        assert_eq!([code(1.0, 4), code(0.5, 4), code(0.0, 8)], [Some(0), Some(1), None]);
        assert_eq!([code(0.7, 2), code(0.72, 2)], [Some(1), Some(0)]);
    }
}

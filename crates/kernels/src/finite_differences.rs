//! Random inputs and the check of gradients that the kernels' tests share.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `count` numbers in `low..high`, the same for the same seed.
pub fn random(count: usize, low: f32, high: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(low..high)).collect()
}

/// The numbers in f64.
pub fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Asserts that two vectors agree to `tolerance` times the larger of 1 and the expected magnitude.
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "{what}[{i}]: {found}, expected {expected}");
    }
}

/// The gradient of `f` at `x` by central differences.
pub fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let centre = x[i];
            x[i] = centre + STEP;
            let above = f(&x);
            x[i] = centre - STEP;
            let below = f(&x);
            x[i] = centre;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// `Σ a · b`
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

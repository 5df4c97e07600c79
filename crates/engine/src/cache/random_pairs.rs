//! Random pairs for the tests of what reads and sums up a layer.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::StoreShape;

/// A small layer with groups of two query heads.
pub const SHAPE: StoreShape = StoreShape { heads: 4, kv_heads: 2, head_dim: 8, window: None };

/// Even random numbers from -2 to 2.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

//! 95 % interval of a mean difference between two policies on the same tokens, by a paired block bootstrap.
//!
//! Losses of neighbouring tokens are correlated, so blocks of [`BLOCK`] consecutive differences are drawn with
//! replacement, from a circle so that every token is as likely. Politis and Romano 1992.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Consecutive tokens drawn together.
const BLOCK: usize = 16;

/// Means drawn.
const RESAMPLES: usize = 2000;

/// The interval of the mean of `differences` (policy minus full, token by token); `None` for less than two blocks.
pub(super) fn interval(differences: &[f64], seed: u64) -> Option<[f64; 2]> {
    let count = differences.len();
    if count < 2 * BLOCK {
        return None;
    }
    let blocks = count.div_ceil(BLOCK);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut block = || {
        let start = rng.random_range(0..count);
        (start..start + BLOCK).map(|index| differences[index % count]).sum::<f64>()
    };
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..blocks).map(|_| block()).sum::<f64>() / (blocks * BLOCK) as f64).collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = RESAMPLES * 25 / 1000;
    Some([means[tail], means[RESAMPLES - 1 - tail]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_losses_differ_by_nothing_and_few_say_nothing() {
        assert_eq!(interval(&[0.0; 128], 1), Some([0.0, 0.0]));
        assert_eq!(interval(&[0.3; 31], 1), None);
    }

    #[test]
    fn the_interval_covers_the_mean_about_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut covered = 0;
        for seed in 0..200 {
            // Mean 0.5, correlated over a few tokens.
            let noise: Vec<f64> = (0..516).map(|_| rng.random_range(-1.0..1.0)).collect();
            let differences: Vec<f64> = noise.windows(4).map(|near| 0.5 + near.iter().sum::<f64>() / 4.0).collect();
            let [low, high] = interval(&differences, seed).unwrap();
            assert!(low < high && high - low < 0.4);
            covered += usize::from(low <= 0.5 && 0.5 <= high);
        }
        assert!((170..=200).contains(&covered), "{covered} of 200");
    }
}

//! Random eviction: the control that every policy has to beat.
//!
//! Every token of every layer and head draws one number from the seed when it enters; the largest stay, so that the kept
//! tokens are at any time a uniform sample of the text.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits};

evicting! {
    "random", reindex = false;
    /// Keeps tokens at random: the control that every other policy has to beat.
    ///
    /// Each head keeps its own sample of the text so far, the same for the same seed.
    pub struct Random {
        /// Where the draws come from.
        pub seed: u64 = 0,
    }
}

impl Evictor for Random {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let heads = store.shape().kv_heads;
        store
            .pairs()
            .iter()
            .enumerate()
            .map(|(head, pairs)| draws(self.seed, store.layer() * heads + head, pairs.positions()))
            .collect()
    }
}

/// The draws of the tokens at `positions`, at least 0 and below 1, from stream `stream` of `seed`.
pub fn draws(seed: u64, stream: usize, positions: &[i32]) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    let draw = |&position: &i32| {
        rng.set_word_pos(u128::from(position.unsigned_abs()));
        (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    };
    positions.iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_draw() {
        let all = draws(7, 3, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(draws(7, 3, &[1, 4]), [all[1], all[4]]);
        assert_ne!(draws(7, 4, &[1, 4]), [all[1], all[4]]);
        assert_ne!(draws(8, 3, &[1, 4]), [all[1], all[4]]);
    }

    #[test]
    fn draws_are_uniform() {
        let positions: Vec<i32> = (0..10_000).collect();
        let draws = draws(0, 0, &positions);
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        assert!((mean - 0.5).abs() < 0.02 && draws.iter().all(|x| (0.0..1.0).contains(x)), "{mean}");
    }
}

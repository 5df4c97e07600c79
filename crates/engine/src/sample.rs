//! Choosing the next token from its scores.

use headwise_kernels::profile;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the next token is chosen. Temperature 0 is greedy: the largest score, the lowest id among equals.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// Always the largest score.
    pub fn greedy() -> Self {
        Self::new(0.0, 0, 1.0, 0)
    }

    /// Draws from the `top_k` largest scores (0: all) that together hold `top_p` of the probability, at `temperature`.
    pub fn new(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Self {
        Self { temperature, top_k, top_p, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next token for `logits` `[vocabulary]`.
    pub fn choose(&mut self, logits: &[f32]) -> u32 {
        let _span = profile::span("sampling");
        if self.temperature <= 0.0 {
            return largest(logits);
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let most = logits[order[0] as usize];
        let mut weights: Vec<f32> =
            order.iter().map(|&id| ((logits[id as usize] - most) / self.temperature).exp()).collect();
        let total: f32 = weights.iter().sum();
        let mut held = 0.0;
        let kept = weights.iter().take_while(|&&weight| {
            let before = held;
            held += weight / total;
            before < self.top_p
        });
        let kept = kept.count().max(1);
        weights.truncate(kept);
        let mut left = self.rng.random_range(0.0..1.0) * weights.iter().sum::<f32>();
        for (&id, weight) in order.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        order[kept - 1]
    }
}

/// The index of the largest score, the lowest among equals.
pub fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(Sampler::greedy().choose(&[0.0, 3.0, 3.0, -1.0]), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(1.0, 0, 1.0, 7);
        let logits = [0.0f32, 3f32.ln(), f32::NEG_INFINITY];
        let ones = (0..4000).filter(|_| sampler.choose(&logits) == 1).count();
        assert!((2900..3100).contains(&ones), "{ones} of 4000, expected about 3000");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [1.0, 0.9, 0.8, -5.0];
        let mut two = Sampler::new(5.0, 2, 1.0, 1);
        assert!((0..200).all(|_| two.choose(&logits) < 2));
        let mut nucleus = Sampler::new(1.0, 0, 0.3, 1);
        assert!((0..200).all(|_| nucleus.choose(&logits) == 0));
    }
}

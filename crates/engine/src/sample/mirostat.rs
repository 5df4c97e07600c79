//! Mirostat 2: keeps the surprise of what is written near a target.
//!
//! With `μ = 2τ` at first, every step leaves the tokens whose surprise `-log2 p` is at most `μ`, or else the likeliest alone; draws one of
//! them by their probabilities `p'`, renormalised; and moves the bound by the error: `μ ← μ - η (-log2 p'(drawn) - τ)`. `p` is at the
//! temperature. Basu et al. 2020, arXiv:2007.14966, algorithm 2; that the error is of `p'` is as in llama.cpp, with whose values
//! clients come, where the paper has `p`.

use super::candidates::Candidate;

/// How surprising a text is held to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// The surprise to keep to, in bits; above 0, default 5.
    pub tau: f32,
    /// How fast the bound follows; above 0 and at most 1, default 0.1.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl Mirostat {
    /// The bound of surprise before the first token, in bits.
    pub(super) fn first_bound(&self) -> f64 {
        2.0 * f64::from(self.tau)
    }

    /// Leaves of all `candidates` those with at most `bound` bits of surprise at the inverse temperature `scale`, of which there is one.
    pub(super) fn cut(candidates: &mut Vec<Candidate>, scale: f32, bound: f64) {
        let most = candidates.iter().map(|candidate| candidate.score).fold(f32::NEG_INFINITY, f32::max);
        let weight = |candidate: &Candidate| (f64::from(candidate.score - most) * f64::from(scale)).exp();
        let total: f64 = candidates.iter().map(weight).sum();
        // -log2 (weight / total) ≤ bound
        let least = total * (-bound).exp2();
        let first = candidates.iter().filter(|candidate| candidate.score == most).map(|candidate| candidate.id).min();
        candidates.retain(|candidate| weight(candidate) >= least || Some(candidate.id) == first);
    }

    /// The bound after a token with the probability `p` has been drawn under `bound`.
    pub(super) fn next_bound(&self, bound: f64, p: f64) -> f64 {
        bound - f64::from(self.eta) * (-p.log2() - f64::from(self.tau))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Sampler, Sampling, candidates};
    use super::*;

    /// Probabilities at `temperature`.
    fn probabilities(scores: &[f32], temperature: f64) -> Vec<f64> {
        let weights: Vec<f64> = scores.iter().map(|&score| (f64::from(score) / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    /// The tokens with at most `bound` bits of surprise, or the likeliest.
    fn reference(p: &[f64], bound: f64) -> BTreeSet<u32> {
        let left: BTreeSet<u32> = (0..p.len() as u32).filter(|&id| -p[id as usize].log2() <= bound).collect();
        let likeliest = (0..p.len()).rev().max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap() as u32;
        if left.is_empty() { [likeliest].into() } else { left }
    }

    proptest! {
        #[test]
        fn tokens_with_more_surprise_are_left_out(
            scores in prop::collection::vec(-8.0f32..8.0, 1..60), temperature in 0.3f64..3.0, bound in -2.0f64..15.0,
        ) {
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut found = Vec::new();
            candidates::collect(&Sampling::default(), &scores, most, &mut found);
            let scale = (1.0 / temperature) as f32;
            Mirostat::cut(&mut found, scale, bound);
            let found: BTreeSet<u32> = found.iter().map(|candidate| candidate.id).collect();
            prop_assert_eq!(found, reference(&probabilities(&scores, 1.0 / f64::from(scale)), bound));
        }
    }

    #[test]
    fn the_bound_follows_the_error_and_surprise_comes_near_the_target() {
        // Ranks by Zipf, some of them at the front of the ids.
        let scores: Vec<f32> = (0..4000).map(|id| -1.1 * ((id * 7 % 4000 + 1) as f32).ln()).collect();
        let temperature = 1.3;
        let p = probabilities(&scores, f64::from(temperature));
        for tau in [2.0, 4.0] {
            let mirostat = Mirostat { tau, eta: 0.1 };
            let sampling = Sampling { temperature, mirostat: Some(mirostat), seed: 9, ..Sampling::default() };
            let (mut sampler, mut twin) = (Sampler::of(sampling.clone()), Sampler::of(sampling));
            let mut bound = 2.0 * f64::from(tau);
            let mut surprises = Vec::new();
            for _ in 0..600 {
                let left = reference(&p, bound);
                let id = sampler.choose(&scores);
                assert!(left.contains(&id) && twin.choose(&scores) == id);
                let mass: f64 = left.iter().map(|&id| p[id as usize]).sum();
                let surprise = -(p[id as usize] / mass).log2();
                bound -= 0.1 * (surprise - f64::from(tau));
                assert!((sampler.bound - bound).abs() < 1e-3, "{} and {bound}", sampler.bound);
                bound = sampler.bound;
                surprises.push(surprise);
            }
            let mean = surprises[100..].iter().sum::<f64>() / 500.0;
            assert!((mean - f64::from(tau)).abs() < 0.1, "mean surprise {mean}, target {tau}");
        }
    }
}

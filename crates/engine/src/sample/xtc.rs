//! XTC: leaves out the likeliest choices now and then, where others are likely enough.
//!
//! With `probability`, of the tokens that the other cuts have left and that are at least `threshold` likely among them, only the
//! least likely stays, with all that are less likely. By p-e-w, 2024 (text-generation-webui, pull request 6335); as in llama.cpp, tokens that
//! end texts are left out like others.

use super::candidates::Candidate;

/// How often the likeliest choices are left out, and which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xtc {
    /// How often: above 0 and at most 1.
    pub probability: f32,
    /// How likely a token has to be to be left out; above 0 and at most 0.5, since of two one is never above. Default 0.1.
    pub threshold: f32,
}

impl Default for Xtc {
    fn default() -> Self {
        Self { probability: 0.5, threshold: 0.1 }
    }
}

impl Xtc {
    /// Leaves out the likeliest of `candidates`, whose weights are their probabilities up to a factor.
    pub(super) fn cut(&self, candidates: &mut Vec<Candidate>) {
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let least = f64::from(self.threshold) * total;
        let likely = candidates.iter().filter(|candidate| candidate.weight >= least);
        let Some(last) = likely.max_by(|a, b| a.likelier(b)).copied() else { return };
        candidates.retain(|candidate| candidate.likelier(&last).is_ge());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Sampler, Sampling, candidates};
    use super::*;

    /// What is left of `scores`, by definition.
    fn reference(xtc: &Xtc, scores: &[f32]) -> BTreeSet<u32> {
        let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
        ids.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        let weights: Vec<f64> = ids.iter().map(|&id| f64::from(scores[id as usize]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let likely = weights.iter().filter(|&weight| weight / total >= f64::from(xtc.threshold)).count();
        ids.split_off(likely.saturating_sub(1)).into_iter().collect()
    }

    proptest! {
        #[test]
        fn the_likeliest_are_left_out(
            scores in prop::collection::vec(prop_oneof![-3.0f32..3.0, Just(1.0f32)], 1..40),
            threshold in 0.001f32..1.0,
        ) {
            let xtc = Xtc { probability: 1.0, threshold };
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut found = Vec::new();
            candidates::collect(&Sampling::default(), &scores, most, &mut found);
            xtc.cut(&mut found);
            prop_assert_eq!(found.iter().map(|candidate| candidate.id).collect::<BTreeSet<_>>(), reference(&xtc, &scores));
        }
    }

    #[test]
    fn choices_are_left_out_as_often_as_asked() {
        // Probabilities 0.5, 0.3, 0.2: with 0.25 only the first is left out.
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let xtc = Some(Xtc { probability: 0.4, threshold: 0.25 });
        let mut sampler = Sampler::of(Sampling { temperature: 1.0, xtc, seed: 3, ..Sampling::default() });
        let draws = 20_000;
        let mut counts = [0usize; 3];
        (0..draws).for_each(|_| counts[sampler.choose(&scores) as usize] += 1);
        let expected = [0.6 * 0.5, 0.6 * 0.3 + 0.4 * 0.6, 0.6 * 0.2 + 0.4 * 0.4];
        for (count, p) in counts.iter().zip(expected) {
            let (mean, deviation) = (f64::from(draws) * p, (f64::from(draws) * p * (1.0 - p)).sqrt());
            assert!((*count as f64 - mean).abs() < 5.0 * deviation, "{counts:?}");
        }
        let mut greedy = Sampler::of(Sampling { xtc, ..Sampling::default() });
        assert!((0..50).all(|_| greedy.choose(&scores) == 0), "nothing is drawn at temperature 0");
    }
}

//! UNComp's stages: deeper layers read fewer and fewer tokens of a prompt.
//!
//! A layer's entropy `e_l` is the sum of the entropies of its heads ([`HeadScores::entropies`]). Wherever it falls by more than `fall`
//! of its range, `e_l - e_{l-1} < -fall (max e - min e)`, a new stage begins: `0..S`. A layer of stage `s` reads
//! `m + (T - m) (S - s) / S` tokens of a prompt of `T`, with `m = keep · T`: those to which the layer before gave most attention from
//! its last `window` rows. A token that a layer does not read has no pairs there, nor deeper. Xiong et al. 2024, arXiv:2410.03090.
//!
//! [`HeadScores::entropies`]: crate::heads::HeadScores::entropies

use super::evict::select;
use super::{LayerStore, Needs, PolicyError, Protected};

headwise_spec::method! {
    /// Lets deeper layers read fewer tokens of a prompt, which saves time as well as memory.
    ///
    /// Stages begin where the entropy of a layer's queries falls; it is measured once per model, when the policy is first used.
    /// Acts on the first prompt of a text, which is read in one piece. Stands beside evicting policies:
    /// `uncomp_stages + uncomp_groups + snapkv(keep=0.25)`. Xiong et al. 2024, arXiv:2410.03090.
    pub struct UncompStages {
        /// Share of the prompt that the last stage reads, above 0 and at most 1.
        pub keep: f64 = 0.5,
        /// A fall of the entropy that begins a stage, as a share of its range over the layers.
        pub fall: f64 = 0.015,
        /// Last rows whose attention chooses, and last tokens that every layer reads.
        pub window: usize = 8,
        /// First tokens that every layer reads.
        pub first: usize = 4,
    }
}

impl UncompStages {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let wrong = |text| Err(PolicyError::Parameter(text));
        if !(self.keep > 0.0 && self.keep <= 1.0) {
            return wrong(format!("`uncomp_stages`: keep={} must be above 0 and at most 1", self.keep));
        }
        if !(self.fall.is_finite() && self.fall >= 0.0) {
            return wrong(format!("`uncomp_stages`: fall={} must be at least 0", self.fall));
        }
        if self.window == 0 {
            return wrong("`uncomp_stages`: window=0 leaves no row to choose: it must be at least 1".into());
        }
        Ok(())
    }

    /// The statistics that choosing takes.
    pub(super) fn needs(&self) -> Needs {
        Needs { query_window: self.window, ..Needs::default() }
    }

    /// How many tokens of a prompt of `tokens` each layer reads, given the entropies of its heads.
    pub(crate) fn plan(&self, entropies: &[Vec<f64>], tokens: usize) -> Vec<usize> {
        let layers: Vec<f64> = entropies.iter().map(|heads| heads.iter().sum()).collect();
        let most = layers.iter().fold(f64::NEG_INFINITY, |most, entropy| entropy.max(most));
        let least = layers.iter().fold(f64::INFINITY, |least, entropy| entropy.min(least));
        let falls = |pair: &[f64]| pair[1] - pair[0] < -self.fall * (most - least);
        let mut stages = vec![0; layers.len()];
        for layer in 1..layers.len() {
            stages[layer] = stages[layer - 1] + usize::from(falls(&layers[layer - 1..=layer]));
        }
        let last = stages.last().copied().unwrap_or(0).max(1);
        let always = self.first.saturating_add(self.window);
        let fewest = ((self.keep * tokens as f64).round() as usize).max(always).min(tokens);
        stages.into_iter().map(|stage| fewest + (tokens - fewest) * (last - stage) / last).collect()
    }

    /// Which of the rows that `store` has just read the next layer reads, `count` of them, ascending.
    pub(crate) fn choose(&self, store: &LayerStore, count: usize) -> Vec<u32> {
        let mut importance = vec![0.0f32; store.longest()];
        for head in store.window_attention(self.window) {
            importance.iter_mut().zip(head).for_each(|(sum, attention)| *sum += attention);
        }
        select(&importance, count, Protected { sinks: self.first, recent: self.window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_begins_where_the_entropy_falls() {
        let stages = UncompStages { keep: 0.2, ..UncompStages::default() };
        let layers = [1.0, 1.1, 0.7, 0.699, 0.9, 0.4].map(|entropy| vec![entropy / 2.0; 2]);
        // Falls of 1.5 % of 0.7 and more: before layers 2 and 5.
        assert_eq!(stages.plan(&layers, 1000), [1000, 1000, 600, 600, 600, 200]);
        assert_eq!(stages.plan(&layers[..2], 1000), [1000, 1000], "nothing falls");
        let all = UncompStages { keep: 1.0, ..stages.clone() };
        assert_eq!(all.plan(&layers, 77), [77; 6]);
        assert_eq!(stages.plan(&layers, 10), [10; 6], "a prompt as short as what is always read");
        assert!(stages.plan(&[], 10).is_empty());
    }
}

//! SnapKV: the last queries of the text vote for the keys that stay.
//!
//! `score_j = mean_i p_ij` over the last `window` queries `i`, smoothed over neighbouring keys by an average of width
//! `kernel`, and averaged over the query heads of a group. The window itself always stays.
//! Li et al. 2024, arXiv:2404.14469.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs, Protected};

evicting! {
    "snapkv", reindex = false;
    /// Keeps the keys that the last queries attend to.
    ///
    /// Li et al. 2024, arXiv:2404.14469.
    pub struct SnapKv {
        /// Last queries that vote, and last pairs that always stay.
        pub window: usize = 64,
        /// Width of the average over neighbouring keys; odd.
        pub kernel: usize = 5,
    }
}

impl Evictor for SnapKv {
    fn limits(&self) -> Result<Limits, String> {
        if self.window == 0 {
            return Err("`snapkv`: window=0 leaves no query to vote: it must be at least 1".into());
        }
        if self.kernel % 2 == 0 {
            return Err(format!("`snapkv`: kernel={} has no middle: it must be odd", self.kernel));
        }
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { query_window: self.window, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let sums = store.window_attention(self.window);
        sums.into_iter().map(|sums| vote(&sums, self.window, self.kernel)).collect()
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: 0, recent: self.window }
    }

    /// Scoring costs about `window` attention steps.
    fn slack(&self) -> usize {
        32
    }
}

/// Averages attention `sums` over `kernel` neighbours; the last `window` slots take no part.
pub(super) fn vote(sums: &[f32], window: usize, kernel: usize) -> Vec<f32> {
    let open = sums.len().saturating_sub(window);
    let reach = kernel / 2;
    let mut scores = vec![0.0; sums.len()];
    for (slot, score) in scores[..open].iter_mut().enumerate() {
        let neighbours = slot.saturating_sub(reach)..(slot + reach + 1).min(open);
        *score = sums[neighbours].iter().sum::<f32>() / kernel as f32;
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_averaged_before_the_window_only() {
        let scores = vote(&[0.0, 0.0, 6.0, 0.0, 0.0, 9.0, 9.0], 2, 3);
        assert_eq!(scores, [0.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_window_longer_than_the_text_is_no_error() {
        assert_eq!(vote(&[1.0, 2.0], 5, 5), [0.0, 0.0]);
    }
}

//! SnapKV: the last queries of the text vote for the keys that stay.
//!
//! `score_j = mean p_ij` over the last `window` queries `i` and the query heads of a group, smoothed over neighbouring keys by
//! an average of width `kernel`. The window itself always stays. Li et al. 2024, arXiv:2404.14469.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs, Protected};
use crate::neighbours;

evicting! {
    "snapkv", reindex = false;
    /// Keeps the keys that the last queries attend to, and those last tokens themselves.
    ///
    /// A key's score is the mean attention it receives from the last `window` queries, averaged over `kernel` neighbours.
    /// Good when the question stands at the end of the prompt. Costs `window` rows of attention per eviction.
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
        check("snapkv", self.window, self.kernel)?;
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { query_window: self.window, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        if store.longest() <= self.window {
            // All slots belong to the window: there is nothing to vote on.
            return store.pairs().iter().map(|pairs| vec![0.0; pairs.len()]).collect();
        }
        let attention = store.window_attention(self.window);
        attention.into_iter().map(|attention| vote(&attention, self.window, self.kernel)).collect()
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: 0, recent: self.window }
    }
}

/// Checks the parameters of the vote for the policy `name`.
pub(super) fn check(name: &str, window: usize, kernel: usize) -> Result<(), String> {
    if window == 0 {
        return Err(format!("`{name}`: window=0 leaves no query to vote: it must be at least 1"));
    }
    if kernel.is_multiple_of(2) {
        return Err(format!("`{name}`: kernel={kernel} has no middle: it must be odd"));
    }
    Ok(())
}

/// The score of every slot of a head from the mean `attention` `[slots]` it received from the window: an average over
/// `kernel` neighbours, zeros beyond the ends. The last `window` slots take no part and get zero.
pub fn vote(attention: &[f32], window: usize, kernel: usize) -> Vec<f32> {
    let open = attention.len().saturating_sub(window);
    let mut scores = neighbours::average(&attention[..open], kernel);
    scores.resize(attention.len(), 0.0);
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

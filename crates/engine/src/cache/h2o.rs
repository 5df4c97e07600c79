//! H2O, the heavy-hitter oracle: keys that have gathered most attention stay, beside the most recent ones.
//!
//! `score_j = Σ_i p_ij` over all rows `i` read or written so far and the query heads of a group; the sum of an evicted key is
//! dropped with it. Half of the budget is for the most recent tokens. Zhang et al. 2023, arXiv:2306.14048.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs, Protected};

evicting! {
    "h2o", reindex = false;
    /// Keeps the keys that have gathered most attention, and as many of the most recent ones.
    ///
    /// Attention is summed over every row of the prompt and every token written, which doubles the cost of the scores.
    /// Early tokens have been seen by more rows and are favoured. Zhang et al. 2023, arXiv:2306.14048.
    pub struct H2o {}
}

impl Evictor for H2o {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { column_sums: true, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        store.statistics().iter().map(|head| head.column_sums.clone()).collect()
    }

    fn protected(&self, budget: usize) -> Protected {
        Protected { sinks: 0, recent: budget.div_ceil(2) }
    }
}

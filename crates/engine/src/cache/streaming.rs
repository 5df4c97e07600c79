//! StreamingLLM: the first tokens (attention sinks) and the most recent ones stay.
//!
//! With `reindex` (the paper's form, the default) kept keys count as consecutive, so the sinks stay near; without it
//! they keep their original positions. Xiao et al. 2023, arXiv:2309.17453.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Protected};

evicting! {
    "streaming", reindex = true;
    /// Keeps the first tokens (attention sinks) and the most recent ones.
    ///
    /// Needs no statistics and never loses fluency, but what has left the window is gone. By default kept tokens count as
    /// consecutive, as in the paper; `reindex=false` leaves them at their places. Xiao et al. 2023, arXiv:2309.17453.
    pub struct Streaming {
        /// First tokens that always stay.
        pub sinks: usize = 4,
    }
}

impl Evictor for Streaming {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        store.pairs().iter().map(|head| (0..head.len()).map(|slot| slot as f32).collect()).collect()
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: self.sinks, recent: 0 }
    }

    fn undividable(&self) -> Option<&'static str> {
        Some("it keeps the same tokens in every head")
    }
}

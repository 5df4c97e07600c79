//! What was found in memory, what was loaded, and how much memory it took.

use serde::{Deserialize, Serialize};

/// How often what a mixture needed was in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerHits {
    /// Experts that it needed, one for every forward and expert.
    pub needed: u64,
    /// Those that were in memory when it began.
    pub hits: u64,
    /// Those that were on their way.
    pub late: u64,
}

impl LayerHits {
    /// The share that was in memory, 0–1; 1 if nothing was needed.
    pub fn rate(&self) -> f64 {
        if self.needed == 0 { 1.0 } else { self.hits as f64 / self.needed as f64 }
    }
}

/// What was found in memory, what was loaded, and how much memory it took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpertStatistics {
    /// By mixture; the first has no lead time.
    pub layers: Vec<LayerHits>,
    /// Experts that were read because a layer waited for them.
    pub loads_on_demand: u64,
    /// Experts that were read ahead.
    pub loads_ahead: u64,
    /// Experts that left for others.
    pub evictions: u64,
    /// Bytes that experts may take.
    pub capacity_bytes: usize,
    /// The most bytes that experts have taken, those on their way included.
    pub peak_bytes: usize,
    /// Bytes of all experts of the model.
    pub total_bytes: usize,
}

impl ExpertStatistics {
    /// All layers together.
    pub fn hits(&self) -> LayerHits {
        self.layers.iter().fold(LayerHits::default(), |sum, layer| LayerHits {
            needed: sum.needed + layer.needed,
            hits: sum.hits + layer.hits,
            late: sum.late + layer.late,
        })
    }

    /// Experts that were read.
    pub fn loads(&self) -> u64 {
        self.loads_on_demand + self.loads_ahead
    }
}

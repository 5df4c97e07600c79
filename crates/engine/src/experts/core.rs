//! Slots, plan and counts together: what every way to run experts shares, with threads or in a simulation.

use super::planner::Planner;
use super::slots::{LAST, Slots};
use super::{Expert, ExpertPolicy, ExpertStatistics, LayerHits};

/// Slots, plan and counts.
#[derive(Debug)]
pub(super) struct Core<T> {
    pub slots: Slots<T>,
    pub planner: Planner,
    pub statistics: ExpertStatistics,
    /// Bytes of an expert, by layer.
    bytes: Vec<usize>,
}

impl<T: Clone> Core<T> {
    /// For mixtures whose experts take `bytes` each, `total` together, in slots of `capacity` bytes.
    pub fn new(policy: ExpertPolicy, bytes: Vec<usize>, total: usize, capacity: usize) -> Self {
        let (layers, largest) = (bytes.len(), bytes.iter().copied().max().unwrap_or(1).max(1));
        let statistics = ExpertStatistics {
            layers: vec![LayerHits::default(); layers],
            capacity_bytes: capacity,
            total_bytes: total,
            ..ExpertStatistics::default()
        };
        let planner = Planner::new(policy, layers, capacity / largest);
        Self { slots: Slots::new(capacity, layers), planner, statistics, bytes }
    }

    /// What has been counted.
    pub fn statistics(&self) -> ExpertStatistics {
        ExpertStatistics { peak_bytes: self.slots.peak(), ..self.statistics.clone() }
    }

    /// Counts from nothing again.
    pub fn count_anew(&mut self) {
        let ExpertStatistics { layers, capacity_bytes, total_bytes, .. } = &self.statistics;
        let layers = vec![LayerHits::default(); layers.len()];
        let (capacity_bytes, total_bytes) = (*capacity_bytes, *total_bytes);
        self.statistics = ExpertStatistics { layers, capacity_bytes, total_bytes, ..ExpertStatistics::default() };
    }

    /// Gives `expert` a slot because a layer waits for it; whether there is one.
    pub fn reserve_on_demand(&mut self, expert: Expert) -> bool {
        let Self { slots, planner, bytes, .. } = self;
        let rank = |at, about, counts: &[usize]| planner.rank(at, about, counts, expert);
        let left = slots.reserve(expert, bytes[expert.layer], LAST, rank);
        self.statistics.evictions += left.unwrap_or(0) as u64;
        self.statistics.loads_on_demand += u64::from(left.is_some());
        left.is_some()
    }

    /// Gives `expert` a slot ahead of its time, if what leaves for it is expected later or not at all; whether there is one.
    pub fn reserve_ahead(&mut self, expert: Expert) -> bool {
        let Self { slots, planner, bytes, .. } = self;
        let rank = |at, about, counts: &[usize]| planner.rank(at, about, counts, expert);
        let left = slots.reserve(expert, bytes[expert.layer], planner.below(expert), rank);
        self.statistics.evictions += left.unwrap_or(0) as u64;
        self.statistics.loads_ahead += u64::from(left.is_some());
        left.is_some()
    }
}

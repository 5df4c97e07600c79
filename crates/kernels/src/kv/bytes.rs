//! What a store weighs.

use std::collections::HashSet;
use std::sync::Arc;

use super::KeyValues;

/// Memory of a store, by what it is for, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreBytes {
    /// Codes or floats of keys and values in use.
    pub pairs: usize,
    /// Scales and minima of quantised groups.
    pub scales: usize,
    /// Text positions.
    pub positions: usize,
    /// Per-slot statistics kept for a policy.
    pub statistics: usize,
    /// What mixers keep of a text besides keys and values, however long it is.
    pub states: usize,
    /// Slots allocated but not in use.
    pub waste: usize,
}

impl StoreBytes {
    /// Codes and scales in use of an allocation; what is left of it is waste.
    pub(super) fn of_allocation(allocated: usize, pairs: usize, scales: usize) -> Self {
        Self { pairs, scales, waste: allocated - pairs - scales, ..Self::default() }
    }

    /// Everything together.
    pub fn total(&self) -> usize {
        self.pairs + self.scales + self.positions + self.statistics + self.states + self.waste
    }

    /// What the pairs themselves cost: codes and scales. Reports of compression use this.
    pub fn coded(&self) -> usize {
        self.pairs + self.scales
    }
}

impl std::ops::AddAssign for StoreBytes {
    fn add_assign(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.scales += other.scales;
        self.positions += other.positions;
        self.statistics += other.statistics;
        self.states += other.states;
        self.waste += other.waste;
    }
}

impl std::ops::Mul<usize> for StoreBytes {
    type Output = Self;

    fn mul(self, count: usize) -> Self {
        Self {
            pairs: self.pairs * count,
            scales: self.scales * count,
            positions: self.positions * count,
            statistics: self.statistics * count,
            states: self.states * count,
            waste: self.waste * count,
        }
    }
}

impl KeyValues {
    /// Memory of `forks` together, by what it is for: a page that several of them share counts once.
    pub fn bytes_together<'a>(forks: impl IntoIterator<Item = &'a Self>) -> StoreBytes {
        let mut seen = HashSet::new();
        let mut bytes = StoreBytes::default();
        for fork in forks {
            bytes.positions += size_of_val(&fork.positions[..]);
            for (index, page) in fork.pages.iter().enumerate() {
                if seen.insert(Arc::as_ptr(page)) {
                    bytes += page.bytes(fork.used(index));
                }
            }
        }
        bytes
    }

    /// The pages, each with what tells it from all others as long as it lives, and its memory in bytes.
    pub fn pages(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pages.iter().map(|page| (Arc::as_ptr(page) as usize, page.bytes(0).total()))
    }
}

//! Which experts of all layers a text passes, and what two texts have in common.

/// A set of experts: for every layer those that a text passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    bits: Vec<u64>,
    layers: usize,
    experts: usize,
}

impl Path {
    /// An empty path through `layers` mixtures of at most `experts` each.
    pub fn new(layers: usize, experts: usize) -> Self {
        Self { bits: vec![0; (layers * experts).div_ceil(64)], layers, experts }
    }

    /// Layers and experts of each.
    pub fn shape(&self) -> [usize; 2] {
        [self.layers, self.experts]
    }

    /// Adds expert `expert` of mixture `layer`.
    ///
    /// # Panics
    /// If there is no such expert.
    pub fn insert(&mut self, layer: usize, expert: usize) {
        assert!(layer < self.layers && expert < self.experts, "expert {expert} of layer {layer}");
        let bit = layer * self.experts + expert;
        self.bits[bit / 64] |= 1 << (bit % 64);
    }

    /// Whether expert `expert` of mixture `layer` is passed.
    pub fn contains(&self, layer: usize, expert: usize) -> bool {
        let bit = layer * self.experts + expert;
        self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// The experts of mixture `layer`, ascending.
    pub fn of_layer(&self, layer: usize) -> Vec<usize> {
        (0..self.experts).filter(|&expert| self.contains(layer, expert)).collect()
    }

    /// Adds all that `other` passes.
    pub fn join(&mut self, other: &Self) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, other)| *bits |= other);
    }

    /// `1 - Hamming distance / (layers · experts)`: 1 for the same path.
    pub fn similarity(&self, other: &Self) -> f64 {
        let unlike: u32 = self.bits.iter().zip(&other.bits).map(|(a, b)| (a ^ b).count_ones()).sum();
        1.0 - f64::from(unlike) / (self.layers * self.experts).max(1) as f64
    }
}

/// What the texts `batch` of `paths` pass together.
fn joined(paths: &[Path], batch: &[usize]) -> Option<Path> {
    let mut together = paths.get(*batch.first()?)?.clone();
    batch.iter().for_each(|&text| together.join(&paths[text]));
    Some(together)
}

/// Experts that are active in some batch of `paths`, each batch by itself.
pub fn active_experts(paths: &[Path], batches: &[Vec<usize>]) -> usize {
    loads_on_demand(paths, batches, 0)
}

/// Experts that have to be loaded on demand when every layer has `slots` that hold others of the batch: over batches and layers,
/// `max(0, active experts - slots)`.
pub fn loads_on_demand(paths: &[Path], batches: &[Vec<usize>], slots: usize) -> usize {
    let of_batch = |batch: &Vec<usize>| {
        joined(paths, batch).map_or(0, |path| {
            (0..path.layers).map(|layer| path.of_layer(layer).len().saturating_sub(slots)).sum::<usize>()
        })
    };
    batches.iter().map(of_batch).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn path(experts: &[(usize, usize)]) -> Path {
        let mut path = Path::new(3, 30);
        experts.iter().for_each(|&(layer, expert)| path.insert(layer, expert));
        path
    }

    #[test]
    fn similarity_counts_what_only_one_passes() {
        let (a, b) = (path(&[(0, 1), (2, 29)]), path(&[(0, 1), (2, 28), (1, 4)]));
        assert_eq!(a.similarity(&a), 1.0);
        assert_eq!(a.similarity(&b), 1.0 - 3.0 / 90.0);
        assert_eq!(b.of_layer(2), [28]);
    }

    proptest! {
        #[test]
        fn the_diagnostic_is_a_naive_count(
            texts in prop::collection::vec(prop::collection::btree_set((0usize..3, 0usize..30), 0..9), 1..8),
            slots in 0usize..5,
        ) {
            let paths: Vec<Path> = texts.iter().map(|set| path(&set.iter().copied().collect::<Vec<_>>())).collect();
            let half = texts.len() / 2;
            let batches = [(0..half).collect::<Vec<_>>(), (half..texts.len()).collect()];
            let naive: usize = batches
                .iter()
                .flat_map(|batch| (0..3).map(move |layer| (batch, layer)))
                .map(|(batch, layer)| {
                    let of_text = |&text: &usize| texts[text].iter().filter(move |at| at.0 == layer).map(|at| at.1);
                    batch.iter().flat_map(of_text).collect::<BTreeSet<_>>().len().saturating_sub(slots)
                })
                .sum();
            prop_assert_eq!(loads_on_demand(&paths, &batches, slots), naive);
        }
    }
}

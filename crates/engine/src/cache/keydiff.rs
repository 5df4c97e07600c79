//! KeyDiff: keys that point another way than the average stay.
//!
//! `score_j = -cos(k_j, a)` with the anchor `a = mean_j k_j / ‖k_j‖` over the keys held. Park et al. 2025, arXiv:2504.15364.

use super::limits::evicting;
use super::read::read;
use super::{Evictor, LayerStore, Limits, knorm};

evicting! {
    "keydiff", reindex = false;
    /// Keeps the keys that differ most from the average key.
    ///
    /// Needs no query. The paper evicts block by block while it reads; `when=chunk` does that.
    /// Park et al. 2025, arXiv:2504.15364.
    pub struct KeyDiff {}
}

impl Evictor for KeyDiff {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let width = store.shape().head_dim;
        store.pairs().iter().map(|pairs| score(&read(pairs, width).0, width)).collect()
    }
}

/// The score of every slot from the keys `[slots, head_dim]` of a head.
pub fn score(keys: &[f32], head_dim: usize) -> Vec<f32> {
    // As in the published code, directions of zero keys are zero instead of undefined.
    let scales: Vec<f32> = keys.chunks_exact(head_dim).map(|key| 1.0 / knorm::length(key).max(1e-12)).collect();
    let mut anchor = vec![0.0; head_dim];
    for (key, scale) in keys.chunks_exact(head_dim).zip(&scales) {
        anchor.iter_mut().zip(key).for_each(|(sum, x)| *sum += scale * x);
    }
    let scale = 1.0 / knorm::length(&anchor).max(1e-12);
    let product = |key: &[f32]| key.iter().zip(&anchor).map(|(a, b)| a * b).sum::<f32>();
    keys.chunks_exact(head_dim).zip(&scales).map(|(key, own)| -product(key) * own * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_one_scores_highest() {
        let scores = score(&[1.0, 0.1, 2.0, 0.0, 0.0, 1.0, 3.0, -0.1], 2);
        assert!((0..4).all(|slot| scores[slot] <= scores[2]), "{scores:?}");
        assert!(score(&[0.0; 8], 2).iter().all(|score| score.is_finite()));
    }
}

//! Knorm: keys with a small length stay.
//!
//! `score_j = -‖k_j‖₂`, taken in single precision when the key is appended. Devoto et al. 2024, arXiv:2406.11430.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Needs};

evicting! {
    "knorm", reindex = false;
    /// Keeps the keys with the smallest length.
    ///
    /// In many models short keys receive most attention. The cheapest score there is: it never looks at a query.
    /// Devoto et al. 2024, arXiv:2406.11430.
    pub struct Knorm {}
}

impl Evictor for Knorm {
    fn limits(&self) -> Result<Limits, String> {
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { key_norms: true, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        store.statistics().iter().map(|head| score(&head.key_norms)).collect()
    }
}

/// The score of every slot from the lengths of the keys.
pub fn score(key_norms: &[f32]) -> Vec<f32> {
    key_norms.iter().map(|norm| -norm).collect()
}

/// `‖x‖₂`
pub fn length(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}

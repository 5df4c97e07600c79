//! How the budget of a layer is divided over its heads.

use super::{AdaKv, PolicyError, UncompGroups};

/// A division of the budgets of all evicting policies of a cache.
#[derive(Clone, Debug)]
pub enum Division {
    /// By where the best scores are.
    Scores(AdaKv),
    /// By how many directions queries spread over.
    Entropies(UncompGroups),
}

impl Division {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        match self {
            Self::Scores(division) => division.check(),
            Self::Entropies(division) => division.check(),
        }
    }
}

//! What evicting policies have in common: a policy scores slots, everything else happens here.

use std::fmt::Debug;

use headwise_kernels::profile;

use super::{LayerStore, Limits, Needs};

/// An evicting policy.
///
/// A policy whose judgement is a score per slot writes `score`; slots with the largest scores stay.
pub trait Evictor: Debug + Send + Sync {
    /// The parameters that all policies share, checked.
    fn limits(&self) -> Result<Limits, String>;

    /// The statistics that the store has to gather for `score`.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Scores `[kv_heads][slots]` of the pairs in `store`; larger stays.
    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>>;

    /// Slots that stay whatever their score, out of a budget of `budget`.
    fn protected(&self, _budget: usize) -> Protected {
        Protected::default()
    }

    /// Pairs that a layer may keep when the mean over layers is `plan.budget`.
    fn layer_budget(&self, plan: &Plan) -> usize {
        plan.budget
    }
}

/// Slots that stay whatever their score: the first ones, then the last ones as far as the budget reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// First slots.
    pub sinks: usize,
    /// Last slots.
    pub recent: usize,
}

/// What a layer's budget is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Index of the layer among those that evict.
    pub layer: usize,
    /// Number of layers that evict.
    pub layers: usize,
    /// Tokens of the prompt, as far as it has been read.
    pub tokens: usize,
    /// Mean pairs per head over the layers.
    pub budget: usize,
}

/// Evicts from `store` whatever exceeds `budget` pairs per head; while `decoding`, also the slack.
pub(super) fn evict(evictor: &dyn Evictor, limits: &Limits, store: &mut LayerStore, budget: usize, decoding: bool) {
    if store.longest() <= budget {
        return;
    }
    let target = if decoding { budget - limits.slack.min(budget / 8) } else { budget };
    let protected = evictor.protected(target);
    store.gather();
    let keep: Vec<Vec<u32>> = {
        let _span = profile::whole("eviction, scores");
        evictor.score(store).iter().map(|scores| select(scores, target, protected)).collect()
    };
    store.compact(&keep);
    if limits.reindex {
        store.reindex();
    }
}

/// The slots to keep, ascending: the protected ones, then the largest scores; equal scores prefer the lower slot.
///
/// Linear in the slots.
pub(super) fn select(scores: &[f32], budget: usize, protected: Protected) -> Vec<u32> {
    let slots = scores.len();
    let budget = budget.min(slots);
    let sinks = protected.sinks.min(budget);
    let recent = protected.recent.min(budget - sinks);
    let open = sinks..slots - recent;
    let wanted = budget - sinks - recent;
    let mut kept = vec![true; slots];
    if wanted < open.len() {
        let mut order: Vec<usize> = open.collect();
        let better = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        order.select_nth_unstable_by(wanted, better);
        order[wanted..].iter().for_each(|&slot| kept[slot] = false);
    }
    (0..slots as u32).filter(|&slot| kept[slot as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_scores_stay_and_ties_prefer_the_lower_slot() {
        let none = Protected::default();
        assert_eq!(select(&[1.0, 5.0, 3.0, 5.0, 0.0], 2, none), [1, 3]);
        assert_eq!(select(&[1.0; 6], 3, none), [0, 1, 2]);
        assert_eq!(select(&[0.0, 9.0], 5, none), [0, 1]);
        assert_eq!(select(&[0.0, 9.0], 2, none), [0, 1]);
        assert_eq!(select(&[], 2, none), [0; 0]);
    }

    #[test]
    fn protected_slots_come_first_out_of_the_budget() {
        let protected = Protected { sinks: 2, recent: 2 };
        let scores = [0.0, 0.0, 1.0, 9.0, 2.0, 0.0, 0.0];
        assert_eq!(select(&scores, 5, protected), [0, 1, 3, 5, 6]);
        assert_eq!(select(&scores, 4, protected), [0, 1, 5, 6]);
        assert_eq!(select(&scores, 3, protected), [0, 1, 6]);
        assert_eq!(select(&scores, 1, protected), [0]);
    }
}

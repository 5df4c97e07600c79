//! What evicting policies have in common: a policy scores slots, everything else happens here.

use std::fmt::Debug;

use headwise_kernels::kv::KeyValues;
use headwise_kernels::profile;

use super::{AdaKv, Division, LayerStore, Limits, Needs, WholeHeads};
use crate::heads::Scope;

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

    /// The heads that keep everything, if the policy makes the difference; `store` knows them then.
    fn whole_heads(&self) -> Option<WholeHeads> {
        None
    }

    /// Pairs that every head may keep when the mean over the heads of all layers is `budget`.
    fn head_budgets(&self, store: &LayerStore, budget: usize) -> Vec<usize> {
        vec![budget; store.shape().kv_heads]
    }

    /// Whether what a head drops lives on as one slot that stands for all of it.
    fn compensates(&self) -> bool {
        false
    }

    /// When a key of a head with ALiBi is out of sight, if the policy asks how far such heads see; `store` knows it then.
    fn scope(&self) -> Option<Scope> {
        None
    }

    /// Why scores cannot divide a budget over the heads of a layer, if they cannot.
    fn undividable(&self) -> Option<&'static str> {
        None
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

/// Evicts from `store` whatever exceeds `budget` pairs per head, as a mean over heads if `division` divides it; while
/// `decoding`, also the slack.
pub(super) fn evict(
    evictor: &dyn Evictor,
    limits: &Limits,
    division: Option<&Division>,
    store: &mut LayerStore,
    budget: usize,
    decoding: bool,
) {
    let (budgets, by_scores): (Vec<usize>, Option<&AdaKv>) = match division {
        Some(Division::Entropies(groups)) => (groups.head_budgets(store, budget), None),
        Some(Division::Scores(scores)) => (evictor.head_budgets(store, budget), Some(scores)),
        None => (evictor.head_budgets(store, budget), None),
    };
    let fits = match by_scores {
        Some(_) => store.pairs().iter().map(KeyValues::len).sum::<usize>() <= budget * budgets.len(),
        None => store.pairs().iter().zip(&budgets).all(|(pairs, budget)| pairs.len() <= *budget),
    };
    if fits {
        return;
    }
    let target = |budget: usize| if decoding { budget - limits.slack.min(budget / 8) } else { budget };
    store.gather();
    let keep: Vec<Vec<u32>> = {
        let _span = profile::whole("eviction, scores");
        let scores = evictor.score(store);
        match by_scores {
            Some(division) => division.divide(&scores, target(budget), evictor.protected(target(budget))),
            None => {
                scores.iter().zip(budgets).map(|(scores, budget)| within(evictor, scores, budget, target)).collect()
            }
        }
    };
    // Where scores fall with the distance, one key cannot stand for many.
    if evictor.compensates() && store.scopes().is_empty() {
        store.absorb_dropped(&keep);
    }
    store.compact(&keep);
    if limits.reindex {
        store.reindex();
    }
}

/// The slots that a head keeps: all that are within its `budget`, else as many as its `target`.
fn within(evictor: &dyn Evictor, scores: &[f32], budget: usize, target: impl Fn(usize) -> usize) -> Vec<u32> {
    if scores.len() <= budget {
        return (0..scores.len() as u32).collect();
    }
    let target = target(budget);
    select(scores, target, evictor.protected(target))
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

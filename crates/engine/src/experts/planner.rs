//! What a policy expects to need, and what leaves first.

use std::collections::BTreeMap;

use super::slots::{Rank, Resident};
use super::{Expert, ExpertPolicy, allocate};

/// Ranks of what nobody expects to need: foreseen in vain, or not in a layer's share; then the rest.
const FIRST: usize = 0;
const SECOND: usize = 1;
/// From here on upwards: what is expected, the sooner the higher.
const EXPECTED: usize = 2;

/// The state of a policy within a forward.
#[derive(Debug)]
pub(super) struct Planner {
    policy: ExpertPolicy,
    layers: usize,
    /// Experts that fit at once.
    slots: usize,
    /// The mixture that is running.
    layer: Option<usize>,
    /// How many experts it needs.
    needed: usize,
    /// What each mixture is expected to need, the likeliest first.
    foreseen: Vec<Vec<usize>>,
    /// What is to be in memory soon, with the mixtures that come before it.
    planned: BTreeMap<Expert, usize>,
}

impl Planner {
    /// For `layers` mixtures and so many experts at once.
    pub fn new(policy: ExpertPolicy, layers: usize, slots: usize) -> Self {
        let foreseen = vec![Vec::new(); layers];
        Self { policy, layers, slots, layer: None, needed: 0, foreseen, planned: BTreeMap::new() }
    }

    /// A forward begins; each mixture is expected to need `foreseen`, the likeliest first.
    pub fn begin(&mut self, foreseen: Vec<Vec<usize>>) {
        (self.layer, self.needed) = (None, 0);
        self.foreseen = foreseen;
        self.foreseen.resize(self.layers, Vec::new());
        self.plan();
    }

    /// Mixture `layer` runs with `needed` experts; `next` is what the next router would choose, where that is asked.
    pub fn arrive(&mut self, layer: usize, needed: usize, next: &[usize]) {
        (self.layer, self.needed) = (Some(layer), needed);
        if let (ExpertPolicy::NextGate(_), Some(foreseen)) = (&self.policy, self.foreseen.get_mut(layer + 1)) {
            *foreseen = next.to_vec();
        }
        self.plan();
    }

    fn plan(&mut self) {
        let from = self.layer.map_or(0, |layer| layer + 1);
        let free = self.slots.saturating_sub(self.needed);
        let to = match &self.policy {
            ExpertPolicy::OnDemand(_) | ExpertPolicy::Lru(_) => from,
            ExpertPolicy::NextGate(_) if self.layer.is_some() => (from + 1).min(self.layers),
            ExpertPolicy::NextGate(_) => from,
            ExpertPolicy::ExpertFlow(_) => self.layers,
        };
        let coming = &self.foreseen[from.min(to)..to];
        let shares = allocate(&coming.iter().map(Vec::len).collect::<Vec<_>>(), free);
        let with_share = coming.iter().zip(shares).enumerate();
        let planned = with_share.flat_map(|(distance, (experts, share))| {
            experts[..share].iter().map(move |&index| (Expert { layer: from + distance, index }, distance))
        });
        self.planned = planned.collect();
    }

    /// What is to be in memory soon, what is needed first first.
    pub fn wanted(&self) -> Vec<Expert> {
        // Of a layer the likeliest come first, which the map does not know.
        let planned = |layer: usize| {
            let at = move |&index: &usize| Expert { layer, index };
            self.foreseen[layer].iter().map(at).filter(|expert| self.planned.contains_key(expert))
        };
        (0..self.layers).flat_map(planned).collect()
    }

    /// Below which rank experts leave for `expert`, which is read ahead.
    pub fn below(&self, expert: Expert) -> Rank {
        self.planned.get(&expert).map_or((FIRST, 0), |&distance| (self.sooner(distance), 0))
    }

    fn sooner(&self, distance: usize) -> usize {
        EXPECTED + self.layers - distance.min(self.layers)
    }

    /// The rank of `expert` when `coming` needs a slot and layers have `counts` slots.
    pub fn rank(&self, expert: Expert, about: Resident, counts: &[usize], coming: Expert) -> Rank {
        if let Some(&distance) = self.planned.get(&expert) {
            return (self.sooner(distance), about.touched);
        }
        let first = match &self.policy {
            ExpertPolicy::OnDemand(_) => true,
            // A layer that has more than its share gives first: the coming expert's own if it would have more.
            ExpertPolicy::Lru(_) | ExpertPolicy::NextGate(_) => {
                counts[expert.layer] + usize::from(expert.layer == coming.layer) > self.share(expert.layer)
            }
            ExpertPolicy::ExpertFlow(_) => !about.used && self.layer.is_some_and(|layer| expert.layer <= layer),
        };
        (if first { FIRST } else { SECOND }, about.touched)
    }

    /// The slots of `layer` if all layers have as many.
    fn share(&self, layer: usize) -> usize {
        (self.slots / self.layers + usize::from(layer < self.slots % self.layers)).max(1)
    }

    /// Whether nothing stays that is not in use.
    pub fn keeps_nothing(&self) -> bool {
        matches!(self.policy, ExpertPolicy::OnDemand(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner(policy: &str, slots: usize) -> Planner {
        Planner::new(headwise_spec::from_text(policy).unwrap(), 3, slots)
    }

    fn at(layer: usize, index: usize) -> Expert {
        Expert { layer, index }
    }

    const OLD: Resident = Resident { touched: 1, used: true };

    #[test]
    fn slots_of_a_layer_that_is_done_go_to_later_ones() {
        let mut planner = planner("expertflow", 6);
        planner.begin(vec![vec![5, 1], vec![2, 0, 7], vec![4, 3, 6]]);
        assert_eq!(planner.wanted(), [at(0, 5), at(0, 1), at(1, 2), at(1, 0), at(2, 4), at(2, 3)]);
        planner.arrive(0, 2, &[]);
        assert_eq!(planner.wanted(), [at(1, 2), at(1, 0), at(1, 7), at(2, 4)]);
        planner.arrive(1, 3, &[]);
        assert_eq!(planner.wanted(), [at(2, 4), at(2, 3), at(2, 6)]);
        planner.arrive(2, 3, &[]);
        assert!(planner.wanted().is_empty());
    }

    #[test]
    fn what_was_foreseen_in_vain_leaves_first_and_what_comes_soonest_last() {
        let mut planner = planner("expertflow", 9);
        planner.begin(vec![vec![0], vec![1], vec![2]]);
        planner.arrive(0, 1, &[]);
        let rank = |expert, about| planner.rank(expert, about, &[], at(1, 9));
        let vain = rank(at(0, 3), Resident { touched: 9, used: false });
        let done = rank(at(0, 0), OLD);
        let (later, soon) = (rank(at(2, 2), OLD), rank(at(1, 1), OLD));
        assert!(vain < done && done < later && later < soon);
        assert!(planner.below(at(2, 2)) > done && planner.below(at(2, 2)) <= later);
        assert_eq!(planner.below(at(2, 7)), (FIRST, 0), "what is not planned takes no slot of others");
    }

    #[test]
    fn the_next_gate_looks_one_layer_ahead() {
        let mut planner = planner("next_gate", 4);
        planner.begin(Vec::new());
        assert!(planner.wanted().is_empty());
        planner.arrive(0, 2, &[3, 1, 2]);
        assert_eq!(planner.wanted(), [at(1, 3), at(1, 1)]);
        planner.arrive(2, 2, &[]);
        assert!(planner.wanted().is_empty());
    }

    #[test]
    fn a_layer_over_its_share_gives_first() {
        let planner = planner("lru", 6);
        let rank = |layer, counts: [usize; 3], coming| planner.rank(at(layer, 0), OLD, &counts, at(coming, 9)).0;
        assert_eq!(rank(0, [3, 2, 1], 2), FIRST);
        assert_eq!(rank(1, [3, 2, 1], 2), SECOND);
        assert_eq!(rank(2, [2, 2, 2], 2), FIRST, "its own oldest leaves for a layer that has its share");
        assert_eq!(rank(1, [2, 2, 2], 2), SECOND);
    }
}

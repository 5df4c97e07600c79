//! A policy on recorded or invented routes, without a model: loads take no time, so hit rates say what was foreseen and held.

use super::core::Core;
use super::{Expert, ExpertPolicy, ExpertStatistics};

/// What one forward needs, and what was foreseen of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The experts of each layer that some row passes, ascending.
    pub needed: Vec<Vec<usize>>,
    /// What was foreseen for each layer before the first, the likeliest first; empty if nothing was.
    pub foreseen: Vec<Vec<usize>>,
}

/// Runs `policy` over `steps` of a model with `layers` mixtures of `experts` each, of one byte an expert, in slots of `capacity` bytes.
/// Whatever is to be read ahead has come before the layer that needs it begins. What a next gate would see is what the step foresaw.
pub fn simulate(
    policy: &ExpertPolicy,
    [layers, experts]: [usize; 2],
    capacity: usize,
    steps: &[Step],
) -> ExpertStatistics {
    let mut core = Core::<()>::new(policy.clone(), vec![1; layers], layers * experts, capacity.max(1));
    for step in steps {
        core.planner.begin(step.foreseen.clone());
        read_ahead(&mut core);
        for (layer, needed) in step.needed.iter().enumerate() {
            let next = step.foreseen.get(layer + 1).map_or(&[][..], Vec::as_slice);
            core.planner.arrive(layer, needed.len(), next);
            let at = |&index: &usize| Expert { layer, index };
            let (ready, missing): (Vec<Expert>, Vec<Expert>) =
                needed.iter().map(at).partition(|&expert| core.slots.is_ready(expert));
            core.statistics.layers[layer].needed += needed.len() as u64;
            core.statistics.layers[layer].hits += ready.len() as u64;
            for expert in ready {
                core.slots.touch(expert);
            }
            for expert in missing {
                core.reserve_on_demand(expert);
                core.slots.fill(expert, (), 0);
                core.slots.touch(expert);
            }
            if core.planner.keeps_nothing() {
                needed.iter().map(at).for_each(|expert| core.slots.drop_unpinned(expert));
            }
            read_ahead(&mut core);
        }
    }
    core.statistics()
}

fn read_ahead(core: &mut Core<()>) {
    for expert in core.planner.wanted() {
        if core.reserve_ahead(expert) {
            core.slots.fill(expert, (), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &str, capacity: usize, steps: &[Step]) -> ExpertStatistics {
        simulate(&headwise_spec::from_text(policy).unwrap(), [2, 4], capacity, steps)
    }

    fn steps(foreseen: [Vec<usize>; 2]) -> Vec<Step> {
        let step = |first: usize| Step { needed: vec![vec![first], vec![3 - first]], foreseen: foreseen.to_vec() };
        [0, 0, 1, 0].map(step).to_vec()
    }

    #[test]
    fn counts_are_those_of_a_reckoning_by_hand() {
        let nothing = steps([vec![], vec![]]);
        let on_demand = run("on_demand", 1, &nothing);
        assert_eq!((on_demand.hits().hits, on_demand.loads_on_demand, on_demand.peak_bytes), (0, 8, 1));
        // A slot a layer: the second step finds both, the third and fourth miss.
        let lru = run("lru", 2, &nothing);
        assert_eq!((lru.hits().hits, lru.loads(), lru.peak_bytes), (2, 6, 2));
        let lru = run("lru", 4, &nothing);
        assert_eq!((lru.hits().hits, lru.loads()), (4, 4));
        // Always foreseen as in the first step: the third misses both.
        let flow = run("expertflow", 2, &steps([vec![0], vec![3]]));
        assert_eq!((flow.hits().hits, flow.loads_on_demand, flow.peak_bytes), (6, 2, 2));
    }

    #[test]
    fn one_slot_is_enough_for_every_policy() {
        for policy in ["on_demand", "lru", "next_gate", "expertflow"] {
            let found = run(policy, 1, &steps([vec![0, 1], vec![3, 2]]));
            assert_eq!((found.hits().needed, found.peak_bytes), (8, 1), "{policy}");
        }
    }
}

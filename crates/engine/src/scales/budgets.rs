//! How many slots a layer keeps for a scale: drafters nearly everything, refiners what is left.

use serde::{Deserialize, Serialize};

/// How budgets are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Drafters get nearly all there is, as in the tables that were published with the code.
    #[default]
    Released,
    /// Refiners get less with every scale, as in the paper.
    Delta,
}

/// Slots of the two kinds of layers when a scale is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Of a layer that looks everywhere.
    pub drafter: usize,
    /// Of any other layer.
    pub refiner: usize,
}

/// What is divided when a scale is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Slots of a layer and head, the mean over the layers.
    pub uniform: usize,
    /// Slots that every drafter can have: what it kept before, and the map since.
    pub available: usize,
    /// Layers.
    pub layers: usize,
    /// Drafters among them.
    pub drafters: usize,
}

impl Division {
    /// What each refiner gets if each drafter gets `drafter`: `(uniform · layers - drafters · drafter) / (layers - drafters)`; none if that
    /// is no whole number.
    pub fn refiner(&self, drafter: usize) -> Option<usize> {
        let left = (self.uniform * self.layers).checked_sub(self.drafters * drafter)?;
        let refiners = self.layers - self.drafters;
        (refiners > 0 && left.is_multiple_of(refiners)).then(|| left / refiners)
    }

    /// The released rule: as much for drafters as is available, leaves no slot over, and leaves refiners at least `least`. The total is
    /// exactly `uniform · layers`. It gives every number of the published tables.
    pub fn released(&self, least: usize) -> Slots {
        let even = Slots { drafter: self.uniform, refiner: self.uniform };
        if self.drafters == 0 || self.drafters == self.layers {
            return even;
        }
        let fits = |drafter: usize| {
            let refiner = self.refiner(drafter)?;
            (refiner >= least.min(self.uniform)).then_some(Slots { drafter, refiner })
        };
        (self.uniform..=self.available).rev().find_map(fits).unwrap_or(even)
    }

    /// The rule of the paper: refiners get `refiner`, drafters share the rest, and no more than there is.
    pub fn delta(&self, refiner: usize) -> Slots {
        let refiner = refiner.min(self.uniform);
        if self.drafters == 0 || self.drafters == self.layers {
            return Slots { drafter: self.uniform, refiner: self.uniform };
        }
        let left = self.uniform * self.layers - (self.layers - self.drafters) * refiner;
        Slots { drafter: (left / self.drafters).min(self.available), refiner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Width and height of the maps before scales 9 to 13 of the published models, and slots of a full cache at the first of these.
    const MAPS: [usize; 4] = [24, 32, 40, 48];
    const FIRST: usize = 921;

    /// Layers, drafters by scale, and slots of drafters and refiners by scale.
    type Table = (usize, [usize; 5], [(usize, usize); 5]);

    /// What was published with the code.
    const RELEASED: [Table; 2] = [
        (32, [2, 2, 2, 2, 1], [(920, 632), (1490, 594), (2510, 526), (4100, 420), (6385, 465)]),
        (40, [3; 5], [(909, 629), (1464, 584), (2463, 503), (4054, 374), (6200, 200)]),
    ];

    /// A drafter cannot have more than it kept for the scale before and the map since, which explains every number of the tables.
    #[test]
    fn the_published_tables_follow_exactly() {
        for (layers, drafters, slots) in RELEASED {
            let mut available = FIRST;
            for (i, (drafter, refiner)) in slots.into_iter().enumerate() {
                let division = Division { uniform: 650, available, layers, drafters: drafters[i] };
                assert_eq!(division.refiner(drafter), Some(refiner));
                assert_eq!(division.released(200), Slots { drafter, refiner }, "{division:?}");
                assert_eq!(drafters[i] * drafter + (layers - drafters[i]) * refiner, 650 * layers);
                available = drafter + MAPS.get(i).map_or(0, |side| side * side);
            }
        }
    }

    #[test]
    fn the_paper_takes_more_from_refiners_with_every_scale() {
        let division = Division { uniform: 650, available: 6425, layers: 32, drafters: 2 };
        assert_eq!(division.delta(600), Slots { drafter: 1400, refiner: 600 });
        assert_eq!(division.delta(320), Slots { drafter: 5600, refiner: 320 });
        assert_eq!(Division { available: 921, ..division }.delta(600), Slots { drafter: 921, refiner: 600 });
    }

    #[test]
    fn layers_of_one_kind_share_evenly() {
        let even = Slots { drafter: 5, refiner: 5 };
        for drafters in [0, 4] {
            let division = Division { uniform: 5, available: 21, layers: 4, drafters };
            assert_eq!([division.released(2), division.delta(3)], [even; 2]);
        }
        let one = Division { uniform: 5, available: 21, layers: 4, drafters: 1 };
        assert_eq!(one.released(2), Slots { drafter: 14, refiner: 2 });
        assert_eq!(Division { uniform: 1, available: 14, ..one }.released(2), Slots { drafter: 1, refiner: 1 });
    }
}

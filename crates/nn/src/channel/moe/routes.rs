//! Which experts every row of a forward passes, and with what weight.

use std::cmp::Reverse;

/// Which experts every row of a forward passes, and with what weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// `[rows, active]`, ascending within a row.
    experts: Vec<u32>,
    /// Of the same shape; those of a row sum to one.
    weights: Vec<f32>,
    active: usize,
}

impl Routes {
    /// The `active` experts of the highest scores in each row of `scores` `[rows, experts]`, with a softmax over theirs. Among equals the
    /// one with the lower number is chosen.
    ///
    /// # Panics
    /// If `active` is 0 or above `experts`.
    pub fn of(scores: &[f32], experts: usize, active: usize) -> Self {
        assert!((1..=experts).contains(&active), "{active} of {experts} experts");
        let rows = scores.len() / experts;
        let mut routes =
            Self { experts: Vec::with_capacity(rows * active), weights: Vec::with_capacity(rows * active), active };
        let mut order: Vec<u32> = Vec::with_capacity(experts);
        for row in scores.chunks_exact(experts) {
            order.clear();
            order.extend(0..experts as u32);
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
            let largest = row[order[0] as usize];
            order.truncate(active);
            order.sort_unstable();
            let start = routes.weights.len();
            routes.weights.extend(order.iter().map(|&expert| (row[expert as usize] - largest).exp()));
            let sum: f32 = routes.weights[start..].iter().sum();
            routes.weights[start..].iter_mut().for_each(|weight| *weight /= sum);
            routes.experts.extend(&order);
        }
        routes
    }

    /// The experts of all rows, `[rows, active]`, ascending within a row.
    pub fn experts(&self) -> &[u32] {
        &self.experts
    }

    /// How many experts a row passes.
    pub fn active(&self) -> usize {
        self.active
    }

    /// The experts that some row passes, ascending.
    pub fn needed(&self) -> Vec<usize> {
        let mut needed: Vec<usize> = self.experts.iter().map(|&expert| expert as usize).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The rows that pass `expert`, ascending, each with its weight.
    pub fn of_expert(&self, expert: usize) -> Vec<(usize, f32)> {
        self.places(expert).into_iter().map(|place| (place / self.active, self.weights[place])).collect()
    }

    /// Where `expert` stands in [`experts`](Self::experts).
    pub(super) fn places(&self, expert: usize) -> Vec<usize> {
        let places = self.experts.iter().enumerate().filter(|(_, chosen)| **chosen as usize == expert);
        places.map(|(place, _)| place).collect()
    }

    /// The `most` experts that most rows pass, the busiest first.
    pub fn busiest(&self, most: usize) -> Vec<usize> {
        let mut needed = self.needed();
        needed.sort_by_key(|&expert| Reverse(self.places(expert).len()));
        needed.truncate(most);
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_scores_are_chosen_and_the_lower_number_among_equals() {
        let routes = Routes::of(&[0.0, 2.0, 2.0, 2.0, 3.0, -1.0, 3.0, 0.0], 4, 2);
        assert_eq!(routes.experts(), [1, 2, 0, 2]);
        assert_eq!(routes.of_expert(2), [(0, 0.5), (1, 0.5)]);
        assert_eq!(routes.needed(), [0, 1, 2]);
        assert_eq!(routes.busiest(2), [2, 0]);
        let uneven = Routes::of(&[1.0, 0.0], 2, 2);
        let [(_, first), (_, second)] = [uneven.of_expert(0)[0], uneven.of_expert(1)[0]];
        assert!((first / second - 1f32.exp()).abs() < 1e-6 && (first + second - 1.0).abs() < 1e-6);
    }

    #[test]
    fn scores_that_are_no_numbers_choose_as_many() {
        let routes = Routes::of(&[f32::NAN, 1.0, f32::NEG_INFINITY], 3, 2);
        assert_eq!(routes.experts().len(), 2);
        assert!(Routes::of(&[], 3, 2).needed().is_empty());
    }
}

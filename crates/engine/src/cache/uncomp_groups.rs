//! UNComp's groups: heads whose queries spread over many directions get the larger budgets.
//!
//! The key-value heads of a layer are ranked by the truncated matrix entropy of their queries ([`HeadScores::entropies`]) and cut
//! into groups of equal size. The highest group gets `ratio` times the budget of the lowest, those between lie evenly between; the mean
//! is the policy's budget. Xiong et al. 2024, arXiv:2410.03090.
//!
//! [`HeadScores::entropies`]: crate::heads::HeadScores::entropies

use super::{LayerStore, PolicyError};

headwise_spec::method! {
    /// Divides a layer's budget over its heads by how many directions their queries spread over.
    ///
    /// Stands beside an evicting policy, for example `uncomp_groups + snapkv(keep=0.25)`. Heads that ask many different things get
    /// more pairs than heads that always ask the same. It is decided once per model: the entropies are measured when the policy is
    /// first used. The paper's budgets are 1.5 and 0.75 of a nominal one; here their mean is the budget. Xiong et al. 2024,
    /// arXiv:2410.03090.
    pub struct UncompGroups {
        /// Groups of heads.
        pub groups: usize = 2,
        /// Budget of the highest group over that of the lowest, at least 1.
        pub ratio: f64 = 2.0,
    }
}

impl UncompGroups {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let wrong = |text| Err(PolicyError::Parameter(text));
        if self.groups < 2 {
            return wrong(format!("`uncomp_groups`: groups={} divides nothing: it must be at least 2", self.groups));
        }
        if !(self.ratio.is_finite() && self.ratio >= 1.0) {
            return wrong(format!("`uncomp_groups`: ratio={} gives less to more: it must be at least 1", self.ratio));
        }
        Ok(())
    }

    /// Pairs that every head of `store` may keep when their mean is `budget`.
    pub(super) fn head_budgets(&self, store: &LayerStore, budget: usize) -> Vec<usize> {
        self.divide(store.entropies(), budget, store.tokens())
    }

    /// The budgets of heads with these `entropies`: none above `tokens`, and `budget` as their mean where that leaves room.
    fn divide(&self, entropies: &[f64], budget: usize, tokens: usize) -> Vec<usize> {
        let heads = entropies.len();
        let mut order: Vec<usize> = (0..heads).collect();
        order.sort_by(|&a, &b| entropies[b].total_cmp(&entropies[a]).then(a.cmp(&b)));
        let groups = self.groups.min(heads);
        let weight = |rank: usize| {
            let group = rank * groups / heads;
            let step = (self.ratio - 1.0) / (groups.max(2) - 1) as f64;
            if groups < 2 { 1.0 } else { self.ratio - step * group as f64 }
        };
        let (mut left, mut weights) = (budget * heads, (0..heads).map(weight).sum::<f64>());
        let mut budgets = vec![budget; heads];
        for (rank, head) in order.into_iter().enumerate() {
            // The last ones get what the first could not use.
            let share = if rank + 1 == heads { left } else { (left as f64 * weight(rank) / weights) as usize };
            // Every head keeps one pair at least.
            let most = left.saturating_sub(heads - 1 - rank).min(tokens).max(1);
            budgets[head] = share.clamp(1, most);
            left = left.saturating_sub(budgets[head]);
            weights -= weight(rank);
        }
        budgets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_with_the_higher_entropies_gets_twice_as_much() {
        let groups = UncompGroups::default();
        assert_eq!(groups.divide(&[0.2, 0.9, 0.1, 0.8], 300, 1000), [200, 400, 200, 400]);
        assert_eq!(groups.divide(&[0.5; 2], 300, 1000), [400, 200], "ties prefer the lower head");
        assert_eq!(groups.divide(&[0.7], 300, 1000), [300], "a single head");
        assert_eq!(UncompGroups { ratio: 1.0, ..groups }.divide(&[0.3, 0.2], 300, 1000), [300, 300]);
    }

    #[test]
    fn what_the_text_has_not_goes_to_the_others() {
        assert_eq!(UncompGroups::default().divide(&[0.2, 0.9], 300, 350), [250, 350]);
        assert_eq!(UncompGroups::default().divide(&[0.2, 0.9], 300, 300), [300, 300]);
        assert_eq!(UncompGroups::default().divide(&[0.2, 0.9], 400, 300), [300, 300]);
    }

    #[test]
    fn the_mean_is_the_budget() {
        let entropies: Vec<f64> = (0..9).map(|head| f64::from(head * 7 % 9)).collect();
        for groups in [2, 3, 4, 9, 20] {
            for budget in [1, 2, 13, 100, 499] {
                let budgets = UncompGroups { groups, ratio: 3.0 }.divide(&entropies, budget, 500);
                let sum: usize = budgets.iter().sum();
                assert_eq!(sum, 9 * budget, "{groups} {budget}: {budgets:?}");
                // Up to rounding.
                let ranked = |a: usize, b: usize| entropies[a] < entropies[b] || budgets[a] + 1 >= budgets[b];
                let all = (0..81).all(|pair| ranked(pair / 9, pair % 9));
                assert!(all || budget == 499, "{groups} {budget}: {budgets:?}");
            }
        }
    }
}

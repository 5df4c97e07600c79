//! RazorAttention: retrieval heads keep everything, the others the first tokens, the most recent ones and a slot for the
//! rest.
//!
//! Of `n` key-value heads, `r` copy from far back ([`crate::heads`]). With a mean budget of `b` pairs after `T` tokens,
//! each of the others gets what those leave: `(n b - r T) / (n - r)` pairs, the slot for what it dropped
//! ([`super::compensation`]) among them. Tang et al. 2024, arXiv:2407.15891, give them `max(4000, T / 5)` pairs, which here
//! is `keep = r / n + (1 - r / n) / 5`.
//!
//! Heads with ALiBi need no run: their weights say how many keys they see ([`crate::heads::Scope`]), and nothing that they do not see is
//! worth a slot. Of a layer's budget, heads that see no more than an even share get what they see, and the far-sighted ones the rest.

use super::limits::evicting;
use super::{Evictor, LayerStore, Limits, Protected, Streaming, WholeHeads};
use crate::heads::{Scope, ScopeBound};

evicting! {
    "razor", reindex = false;
    /// Keeps everything in retrieval heads; elsewhere the first tokens, the most recent ones, and one slot for the rest.
    ///
    /// Few heads copy from far back; `headwise inspect heads` shows which, and they are found when the policy is first
    /// used. They are decided once per model, so this needs no scores and does not depend on the question. All other heads
    /// add what they drop to one slot, the mean of its keys and values, which weighs as much as all of them together. The
    /// budget is the mean over all heads; where it does not reach, retrieval heads lose old tokens too. Tang et al. 2024,
    /// arXiv:2407.15891.
    pub struct Razor {
        /// Key-value heads that keep everything, each `[layer, head]`; those that are found if not given.
        pub heads: Option<Vec<[usize; 2]>> = None,
        /// First tokens that always stay.
        pub sinks: usize = 4,
        /// Most recent tokens that every head keeps before retrieval heads get more.
        pub recent: usize = 16,
        /// In models with ALiBi, keys that cannot weigh more than this are out of sight; above 0, below 1.
        pub least_weight: f64 = 1e-5,
        /// In models with ALiBi, how long the inputs of a layer are taken to be: `safe`, or as in the `paper`.
        pub scope: ScopeBound = ScopeBound::Safe,
    }
}

impl Evictor for Razor {
    fn limits(&self) -> Result<Limits, String> {
        if !(self.least_weight > 0.0 && self.least_weight < 1.0) {
            return Err(format!("`razor`: least_weight={} must be above 0 and below 1", self.least_weight));
        }
        self.shared_limits()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        Streaming::default().score(store)
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: self.sinks, recent: 0 }
    }

    fn whole_heads(&self) -> Option<WholeHeads> {
        Some(self.heads.clone().map_or(WholeHeads::Detected, WholeHeads::Given))
    }

    fn head_budgets(&self, store: &LayerStore, budget: usize) -> Vec<usize> {
        let (heads, tokens) = (store.whole_heads(), store.tokens());
        if !store.scopes().is_empty() {
            let needed = |(head, &scope): (usize, &usize)| match heads.heads.contains(&head) {
                true => tokens,
                // The slack is let go of before there is need.
                false => scope.saturating_add(self.sinks + self.slack).min(tokens),
            };
            return divide(budget, store.scopes().iter().enumerate().map(needed).collect());
        }
        let cost = store.dropped_pairs_cost();
        let [whole, other] = budgets(budget, tokens, [heads.whole, heads.all], self.sinks + self.recent + cost);
        // What is dropped lives on in a slot that has to be paid for.
        let pairs = |budget: usize| if budget < tokens { budget.saturating_sub(cost).max(1) } else { budget };
        let kv_heads = 0..store.shape().kv_heads;
        kv_heads.map(|head| pairs(if heads.heads.contains(&head) { whole } else { other })).collect()
    }

    fn compensates(&self) -> bool {
        true
    }

    fn scope(&self) -> Option<Scope> {
        Some(Scope { bound: self.scope, least_weight: self.least_weight })
    }

    fn undividable(&self) -> Option<&'static str> {
        Some("it divides the budget over the heads itself")
    }
}

/// What a head that keeps everything and any other may weigh, in pairs, when `whole` of `all` do and the mean is `budget`
/// after `tokens` of text. The others get `least` first.
fn budgets(budget: usize, tokens: usize, [whole, all]: [usize; 2], least: usize) -> [usize; 2] {
    if budget >= tokens || whole == all || whole == 0 {
        return [budget; 2];
    }
    let others = all - whole;
    let left = (all * budget).saturating_sub(whole * tokens) / others;
    let other = left.max(least.min(budget));
    [((all * budget - others * other) / whole).min(tokens), other]
}

/// The budgets of heads that need `needed` pairs when the mean is `budget`: none gets more than it needs, and those that need more than
/// there is get the same.
fn divide(budget: usize, needed: Vec<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..needed.len()).collect();
    order.sort_by_key(|&head| needed[head]);
    let mut left = budget.saturating_mul(needed.len());
    let mut budgets = needed;
    for (position, &head) in order.iter().enumerate() {
        let even = left / (order.len() - position);
        budgets[head] = budgets[head].min(even).max(1);
        left = left.saturating_sub(budgets[head]);
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_see_little_leave_the_rest_to_the_others() {
        assert_eq!(divide(100, vec![20, 500, 30, 400]), [20, 175, 30, 175]);
        assert_eq!(divide(100, vec![20, 500, 130, 30]), [20, 220, 130, 30]);
        assert_eq!(divide(100, vec![20, 50]), [20, 50], "what nobody needs is saved");
        assert_eq!(divide(1, vec![20, 50, 3]), [1, 1, 1]);
        assert_eq!(divide(usize::MAX, vec![7, usize::MAX]), [7, usize::MAX - 7]);
    }

    #[test]
    fn retrieval_heads_come_first_and_the_mean_is_the_budget() {
        // 14 of 90 heads of 4000 tokens are 0.1556 of them all.
        assert_eq!(budgets(1000, 4000, [14, 90], 22), [4000, (90_000 - 56_000) / 76]);
        assert_eq!(budgets(700, 4000, [14, 90], 22), [4000, (63_000 - 56_000) / 76]);
        // The others' least goes before.
        assert_eq!(budgets(600, 4000, [14, 90], 22), [(54_000 - 76 * 22) / 14, 22]);
        assert_eq!(budgets(10, 4000, [14, 90], 22), [10, 10]);
        assert_eq!(budgets(4000, 4000, [14, 90], 22), [4000, 4000]);
        assert_eq!(budgets(300, 4000, [90, 90], 22), [300, 300]);
        assert_eq!(budgets(300, 4000, [0, 90], 22), [300, 300]);
        for budget in 1..200 {
            let [whole, other] = budgets(budget, 200, [5, 18], 21);
            let sum = 5 * whole + 13 * other;
            assert!(sum <= 18 * budget && sum + 18 > 18 * budget, "{budget}: {whole}, {other}");
        }
    }
}

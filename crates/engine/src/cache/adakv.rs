//! AdaKV: a layer's budget goes to the heads that have use for it.
//!
//! Of the `h b` pairs of a layer of `h` key-value heads, every head is sure of its best `floor · b`, at least one; the rest
//! goes to the best scores of all heads together. Feng et al. 2024, arXiv:2407.11550.

use super::evict::select;
use super::{PolicyError, Protected};

headwise_spec::method! {
    /// Divides a layer's budget over its heads by where the best scores are.
    ///
    /// Stands beside an evicting policy, for example `adakv + snapkv(keep=0.25)`, and divides its budget: the layer holds
    /// as many pairs as without, heads that look at much get more of them than heads that look at little. With `floor=1`
    /// all get the same. Feng et al. 2024, arXiv:2407.11550.
    pub struct AdaKv {
        /// Share of an even budget that every head is sure of, 0 to 1.
        pub floor: f64 = 0.2,
    }
}

impl AdaKv {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        match (0.0..=1.0).contains(&self.floor) {
            true => Ok(()),
            false => Err(PolicyError::Parameter(format!(
                "`adakv`: floor={} is not a share: it must be at least 0 and at most 1",
                self.floor
            ))),
        }
    }

    /// The slots to keep of every head, ascending: `budget` per head as a mean over heads whose slots have `scores`. Equal
    /// scores prefer the lower slot, then the lower head.
    pub fn divide(&self, scores: &[Vec<f32>], budget: usize, protected: Protected) -> Vec<Vec<u32>> {
        let floor = ((budget as f64 * self.floor) as usize).max(usize::from(self.floor > 0.0));
        let sure = floor.max(protected.sinks.saturating_add(protected.recent)).min(budget);
        let mut keep: Vec<Vec<u32>> = scores.iter().map(|scores| select(scores, sure, protected)).collect();
        let mut open: Vec<(usize, u32)> = Vec::new();
        for (head, (scores, keep)) in scores.iter().zip(&keep).enumerate() {
            let mut kept = keep.iter().copied().peekable();
            open.extend(
                (0..scores.len() as u32).filter(|slot| kept.next_if_eq(slot).is_none()).map(|slot| (head, slot)),
            );
        }
        let wanted = (budget * scores.len() - keep.iter().map(Vec::len).sum::<usize>()).min(open.len());
        if wanted < open.len() {
            let score = |&(head, slot): &(usize, u32)| scores[head][slot as usize];
            let better = |a: &(usize, u32), b: &(usize, u32)| {
                score(b).total_cmp(&score(a)).then(a.1.cmp(&b.1)).then(a.0.cmp(&b.0))
            };
            open.select_nth_unstable_by(wanted, better);
            open.truncate(wanted);
        }
        open.into_iter().for_each(|(head, slot)| keep[head].push(slot));
        keep.iter_mut().for_each(|keep| keep.sort_unstable());
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Protected = Protected { sinks: 0, recent: 0 };

    fn divide(floor: f64, scores: &[&[f32]], budget: usize, protected: Protected) -> Vec<Vec<u32>> {
        let scores: Vec<Vec<f32>> = scores.iter().map(|scores| scores.to_vec()).collect();
        AdaKv { floor }.divide(&scores, budget, protected)
    }

    #[test]
    fn the_best_of_all_heads_stay_beside_what_each_is_sure_of() {
        let scores: [&[f32]; 2] = [&[9.0, 8.0, 7.0, 6.0, 5.0], &[1.0, 4.0, 3.0, 2.0, 0.0]];
        assert_eq!(divide(0.0, &scores, 2, NONE), [vec![0, 1, 2, 3], vec![]]);
        assert_eq!(divide(0.5, &scores, 2, NONE), [vec![0, 1, 2], vec![1]]);
        assert_eq!(divide(1.0, &scores, 2, NONE), [vec![0, 1], vec![1, 2]]);
        assert_eq!(divide(0.0, &scores, 2, Protected { sinks: 0, recent: 1 }), [vec![0, 1, 4], vec![4]]);
        assert_eq!(divide(0.3, &scores, 9, NONE), [vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4]]);
    }

    #[test]
    fn ties_prefer_the_lower_slot_then_the_lower_head() {
        assert_eq!(divide(0.0, &[&[1.0; 4], &[1.0; 4], &[1.0; 4]], 1, NONE), [vec![0], vec![0], vec![0]]);
        assert_eq!(divide(0.0, &[&[1.0; 4], &[1.0; 2]], 2, NONE), [vec![0, 1], vec![0, 1]]);
        assert_eq!(divide(0.0, &[&[0.0, 1.0, 1.0], &[0.0, 1.0, 1.0]], 1, NONE), [vec![1], vec![1]]);
    }

    #[test]
    fn heads_of_unequal_length_share_what_there_is() {
        let scores: [&[f32]; 3] = [&[5.0], &[4.0, 9.0, 3.0, 8.0], &[]];
        assert_eq!(divide(0.9, &scores, 1, NONE), [vec![0], vec![1, 3], vec![]]);
        assert_eq!(divide(1.0, &scores, 4, NONE), [vec![0], vec![0, 1, 2, 3], vec![]]);
    }

    #[test]
    fn the_sum_is_that_of_an_even_division() {
        let scores: Vec<Vec<f32>> =
            (0..4).map(|head| (0..97).map(|slot| ((slot * 31 + head * 57) % 89) as f32).collect()).collect();
        for floor in [0.0, 0.2, 0.55, 1.0] {
            for budget in [1, 2, 13, 96, 97, 120] {
                for protected in [NONE, Protected { sinks: 2, recent: 5 }, Protected { sinks: 0, recent: 500 }] {
                    let keep = AdaKv { floor }.divide(&scores, budget, protected);
                    assert_eq!(keep.iter().map(Vec::len).sum::<usize>(), 4 * budget.min(97), "{floor} {budget}");
                    let least = (budget as f64 * floor) as usize;
                    assert!(keep.iter().all(|keep| keep.len() >= least.min(97) && keep.is_sorted()));
                    let even: Vec<Vec<u32>> = scores.iter().map(|scores| select(scores, budget, protected)).collect();
                    assert!(floor < 1.0 || keep == even, "{budget}: an even division");
                }
            }
        }
    }
}

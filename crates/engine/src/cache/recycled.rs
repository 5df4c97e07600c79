//! Recycled Attention (RefreshKV): one full step, then several that read what it attended to most.
//!
//! At a full step every key-value head keeps the slots with the largest `max p_j'` over the query heads of its group and the
//! `kernel` neighbours `j'` of a slot; until the next full step it reads these and the tokens written since. Xu et al. 2024,
//! arXiv:2411.05787.

use headwise_kernels::attention::scores;
use headwise_kernels::softmax::softmax;

use super::evict::select;
use super::{Memory, Protected, Reading, Selection, Selector};

headwise_spec::method! {
    /// Keeps every pair; every `stride`-th token written reads all of them, those between read what it attended to most.
    ///
    /// A token reads `((stride - 1) budget + T) / stride` of `T` pairs on average. What is read is copied once per full step.
    /// The full steps are those of the paper's fixed schedule, the first token after the prompt among them; its other
    /// schedule, by the likeness of queries, is not built in. The paper lets the lowest pair go for every token written; here
    /// the room for all of them is made at the full step. Xu et al. 2024, arXiv:2411.05787.
    pub struct Recycled {
        /// Most pairs that a token reads per key-value head between full steps, those written since included.
        pub budget: usize = 1024,
        /// Tokens from one full step to the next.
        pub stride: usize = 10,
        /// Width of the maximum over neighbouring keys; odd.
        pub kernel: usize = 7,
    }
}

impl Selector for Recycled {
    fn check(&self) -> Result<(), String> {
        let Self { budget, stride, kernel } = *self;
        if stride == 0 {
            return Err("`recycled`: stride=0 never reads everything: it must be at least 1".into());
        }
        if budget < stride {
            return Err(format!(
                "`recycled`: budget={budget} has no room for what is written between full steps: it must be at least \
                 stride={stride}"
            ));
        }
        if kernel.is_multiple_of(2) {
            return Err(format!("`recycled`: kernel={kernel} has no middle: it must be odd"));
        }
        Ok(())
    }

    fn select(&self, reading: &Reading<'_>, memory: &mut Memory) -> Selection {
        if reading.longest() <= self.budget {
            return Selection::All;
        }
        memory.age += 1;
        if memory.slots.is_empty() || memory.age >= self.stride {
            memory.age = 0;
            memory.slots = if self.stride > 1 { self.attended(reading) } else { Vec::new() };
            return Selection::All;
        }
        let read = |(head, chosen): (usize, &Vec<u32>)| {
            let slots = reading.slots(head);
            chosen.iter().copied().chain((slots - memory.age) as u32..slots as u32).collect()
        };
        Selection::Slots(memory.slots.iter().enumerate().map(read).collect())
    }
}

impl Recycled {
    /// The slots of every key-value head to which the query attends most.
    fn attended(&self, reading: &Reading<'_>) -> Vec<Vec<u32>> {
        let shape = reading.store.shape();
        let group = shape.group();
        let scores = scores(reading.spec, shape.of_heads(), reading.query, reading.later, reading.store.pairs());
        reading.heads(|head| {
            let slots = reading.slots(head);
            let heads = scores[head * group..(head + 1) * group].iter().map(|scores| &scores[..slots]);
            select(&most(heads, self.kernel), self.budget - (self.stride - 1), Protected::default())
        })
    }
}

/// The largest weight that any head gives to a slot or its neighbours, `kernel` slots all told; `heads` are scores.
fn most<'a>(heads: impl Iterator<Item = &'a [f32]>, kernel: usize) -> Vec<f32> {
    let (mut largest, mut weights) = (Vec::new(), Vec::new());
    for scores in heads.filter(|scores| !scores.is_empty()) {
        weights.resize(scores.len(), 0.0);
        largest.resize(scores.len(), 0.0f32);
        softmax(scores, scores.len(), &mut weights);
        largest.iter_mut().zip(&weights).for_each(|(largest, weight)| *largest = largest.max(*weight));
    }
    let reach = kernel / 2;
    let around = |slot: usize| &largest[slot.saturating_sub(reach)..(slot + reach + 1).min(largest.len())];
    (0..largest.len()).map(|slot| around(slot).iter().fold(0.0, |most, weight| weight.max(most))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_neighbours_give_their_largest_weight() {
        let scores = [[0.0f32, 2.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 3.0]];
        let weight = |score: f32, others: usize| score.exp() / (score.exp() + others as f32);
        let found = most(scores.iter().map(|scores| &scores[..]), 3);
        let (a, b, rest) = (weight(2.0, 5), weight(3.0, 5), 1.0 / (5.0 + 2f32.exp()));
        let expected = [a, a, a, rest, b, b];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} for {expected:?}");
        let alone = most(scores.iter().map(|scores| &scores[..]), 1);
        assert!((alone[1] - a).abs() < 1e-6 && (alone[0] - rest).abs() < 1e-6, "{alone:?}");
        assert!(most(std::iter::empty(), 3).is_empty());
    }
}

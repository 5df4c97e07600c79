//! HiP: a query finds what it reads by halving the text again and again.
//!
//! Keys are judged in blocks by `max q·k` over their keys and the query heads of a group. A [`TreeSearch`] finds the best ones
//! with `2 k log₂(T / k)` products for `k` of `T` keys; the query reads these beside the first and the most recent pairs.
//! Lee et al. 2024, arXiv:2406.09827.

use headwise_kernels::attention::{AttnSpec, scores};
use headwise_kernels::kv::KeyValues;

use super::{Memory, Reading, Representative, Selection, Selector, TreeSearch};

headwise_spec::method! {
    /// Keeps every pair and reads, for each token written, the keys that a search by halves finds.
    ///
    /// Compares a query with `2 k log₂(T / k)` of `T` keys, where `k` of them are wanted: worth it for texts of many budgets.
    /// The search climbs towards large scores, so it finds what stands in a neighbourhood of like keys, and mostly misses a
    /// single key. The prompt is read with full attention, which the paper prunes too. Lee et al. 2024, arXiv:2406.09827.
    pub struct Hip {
        /// Pairs that a token reads per key-value head, the first and the most recent ones included.
        pub budget: usize = 1024,
        /// First tokens that are always read.
        pub sinks: usize = 16,
        /// Most recent tokens that are always read.
        pub recent: usize = 256,
        /// Pairs that are judged and read together.
        pub block: usize = 2,
        /// Tokens for which a choice stays.
        pub refresh: usize = 8,
        /// Which block is judged for its neighbours: `center` or `first`.
        pub representative: Representative = Representative::Center,
        /// First layers that read everything.
        pub dense_layers: usize = 3,
    }
}

impl Selector for Hip {
    fn check(&self) -> Result<(), String> {
        let Self { budget, sinks, recent, block, refresh, .. } = *self;
        for (name, value) in [("recent", recent), ("block", block), ("refresh", refresh)] {
            if value == 0 {
                return Err(format!("`hip`: {name}=0 means nothing: it must be at least 1"));
            }
        }
        let always = [sinks, recent, refresh - 1, block].into_iter().try_fold(0usize, usize::checked_add);
        if always.is_none_or(|always| always > budget) {
            return Err(format!(
                "`hip`: budget={budget} leaves nothing to search for: it must be at least sinks + recent + refresh - 1 + block \
                 = {sinks} + {recent} + {} + {block}",
                refresh - 1
            ));
        }
        Ok(())
    }

    fn select(&self, reading: &Reading<'_>, memory: &mut Memory) -> Selection {
        if reading.store.layer() < self.dense_layers || reading.longest() <= self.budget {
            return Selection::All;
        }
        memory.age += 1;
        if memory.slots.is_empty() || memory.age >= self.refresh {
            memory.age = 0;
            memory.slots = self.search(reading);
        }
        let read = |(head, chosen): (usize, &Vec<u32>)| {
            let slots = reading.slots(head);
            let since = slots.saturating_sub(self.recent + memory.age);
            chosen.iter().copied().chain(since as u32..slots as u32).collect()
        };
        Selection::Slots(memory.slots.iter().enumerate().map(read).collect())
    }
}

impl Hip {
    /// The slots of every key-value head that are read beside the most recent ones, ascending.
    fn search(&self, reading: &Reading<'_>) -> Vec<Vec<u32>> {
        let kv_heads = reading.store.shape().kv_heads;
        let blocks = (self.budget - self.sinks - self.recent - (self.refresh - 1)) / self.block;
        let ends: Vec<usize> = (0..kv_heads).map(|head| reading.slots(head).saturating_sub(self.recent)).collect();
        let search = |end: &usize| TreeSearch::new(end.div_ceil(self.block), blocks, self.representative);
        let mut searches: Vec<TreeSearch> = ends.iter().map(search).collect();
        loop {
            let candidates: Vec<Vec<u32>> = searches.iter_mut().map(TreeSearch::candidates).collect();
            if candidates.iter().all(Vec::is_empty) {
                break;
            }
            let slots = |(candidates, end): (&Vec<u32>, &usize)| self.slots(candidates.iter().copied(), *end);
            let slots: Vec<Vec<u32>> = candidates.iter().zip(&ends).map(slots).collect();
            let scores = self.scores(reading, &slots);
            for ((search, candidates), scores) in searches.iter_mut().zip(&candidates).zip(&scores) {
                if !candidates.is_empty() {
                    search.keep(scores);
                }
            }
        }
        let chosen = |(search, end): (&TreeSearch, &usize)| {
            let found = self.slots(search.found().map(|block| block as u32), *end);
            let sinks = self.sinks.min(*end) as u32;
            (0..sinks).chain(found.into_iter().filter(|slot| *slot >= sinks)).collect()
        };
        searches.iter().zip(&ends).map(chosen).collect()
    }

    /// The slots of `blocks` among the first `end`.
    fn slots(&self, blocks: impl Iterator<Item = u32>, end: usize) -> Vec<u32> {
        let first = blocks.map(|block| block as usize * self.block);
        first.flat_map(|first| first as u32..(first + self.block).min(end) as u32).collect()
    }

    /// The scores of the blocks that `slots` of every key-value head make up; only the last one may be short.
    fn scores(&self, reading: &Reading<'_>, slots: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let shape = reading.store.shape();
        let keys: Vec<Option<KeyValues>> =
            reading.heads(|head| Some(reading.store.pairs()[head].gathered(&slots[head])));
        let keys: Vec<KeyValues> = keys.into_iter().flatten().collect();
        let products = AttnSpec { scale: reading.spec.scale, ..AttnSpec::default() };
        let scores = scores(&products, shape.of_heads(), reading.query, 0, &keys);
        let of_group = |scores: &[Vec<f32>]| {
            let slots = scores.first().map_or(0, Vec::len);
            let blocks = (0..slots).step_by(self.block).map(|first| first..(first + self.block).min(slots));
            let largest = |block: std::ops::Range<usize>| {
                scores.iter().flat_map(|scores| &scores[block.clone()]).fold(f32::NEG_INFINITY, |most, x| most.max(*x))
            };
            blocks.map(largest).collect()
        };
        scores.chunks_exact(shape.group()).map(of_group).collect()
    }
}

#[cfg(test)]
mod tests {
    use headwise_kernels::kv::Codec;

    use super::*;
    use crate::cache::random_pairs::{SHAPE, numbers};
    use crate::cache::{LayerStore, Needs, NewPairs};

    fn store(keys: &[f32]) -> LayerStore {
        let mut store = LayerStore::new(4, SHAPE, Codec::F32, Needs::default(), false);
        let positions: Vec<i32> = (0..keys.len() as i32 / 16).collect();
        store.append(NewPairs { raw_key: keys, key: keys, value: keys, positions: &positions });
        store
    }

    fn slots(method: &Hip, store: &LayerStore, query: &[f32], later: usize, memory: &mut Memory) -> Vec<Vec<u32>> {
        let reading = Reading { store, query, raw_query: &[], spec: &AttnSpec::causal(8), later };
        match method.select(&reading, memory) {
            Selection::Slots(slots) => slots,
            other => panic!("slots, not {other:?}"),
        }
    }

    /// The slots of `head` when the search scores keys one by one, in double precision.
    fn expected(method: &Hip, keys: &[f32], query: &[f32], head: usize, slots: usize) -> Vec<u32> {
        let end = slots.saturating_sub(method.recent);
        let of_block = |block: usize| block * method.block..((block + 1) * method.block).min(end);
        let product = |slot: usize, query: &[f32]| -> f64 {
            let key = &keys[slot * 16 + head * 8..][..8];
            key.iter().zip(query).map(|(k, q)| f64::from(*k) * f64::from(*q)).sum()
        };
        let score = |block: &u32| {
            let products = query[head * 16..][..16]
                .chunks_exact(8)
                .flat_map(|query| of_block(*block as usize).map(move |slot| product(slot, query)));
            products.fold(f64::NEG_INFINITY, f64::max) as f32
        };
        let keep = (method.budget - method.sinks - method.recent - method.refresh + 1) / method.block;
        let search = TreeSearch::new(end.div_ceil(method.block), keep, method.representative);
        let search = search.run(|blocks| blocks.iter().map(score).collect());
        let mut expected: Vec<u32> = search.found().flat_map(of_block).map(|slot| slot as u32).collect();
        expected.extend((0..method.sinks.min(slots) as u32).chain(end as u32..slots as u32));
        expected.sort_unstable();
        expected.dedup();
        expected
    }

    #[test]
    fn the_blocks_that_the_search_finds_are_read() {
        for (block, sinks, recent, representative) in
            [(2, 3, 9, Representative::Center), (1, 0, 1, Representative::First), (7, 10, 20, Representative::Center)]
        {
            let method = Hip { budget: 60, sinks, recent, block, refresh: 4, representative, ..Hip::default() };
            for (count, later) in [(300, 0), (301, 0), (304, 5), (90, 11)] {
                let keys = numbers(count as u64, count * 16);
                let store = store(&keys);
                for seed in 0..10 {
                    let query = numbers(10 + seed, 32);
                    let found = slots(&method, &store, &query, later, &mut Memory::default());
                    for (head, found) in found.iter().enumerate() {
                        let expected = expected(&method, &keys, &query, head, count - later);
                        assert_eq!(*found, expected, "blocks of {block}, {count} slots, {later} later, head {head}");
                        assert!(found.len() <= method.budget);
                    }
                }
            }
        }
    }

    #[test]
    fn heads_of_different_lengths_are_searched_apart() {
        let keys = numbers(1, 300 * 16);
        let mut store = store(&keys);
        store.compact(&[(0..300).collect(), vec![0, 5, 299]]);
        let method = Hip { budget: 60, sinks: 2, recent: 9, refresh: 1, ..Hip::default() };
        let query = numbers(2, 32);
        let found = slots(&method, &store, &query, 0, &mut Memory::default());
        assert_eq!(found[0], expected(&method, &keys, &query, 0, 300));
        assert_eq!(found[1], [0, 1, 2]);
    }

    #[test]
    fn a_choice_stays_for_some_tokens() {
        let keys = numbers(1, 300 * 16);
        let store = store(&keys);
        let method = Hip { budget: 60, sinks: 2, recent: 9, refresh: 3, ..Hip::default() };
        let (queries, mut memory) = (numbers(2, 7 * 32), Memory::default());
        let mut chosen = Vec::new();
        for (step, query) in queries.chunks_exact(32).enumerate() {
            let count = 290 + step;
            let found = slots(&method, &store, query, 300 - count, &mut memory);
            if step % 3 == 0 {
                chosen = expected(&method, &keys, query, 1, count);
            } else {
                chosen.push(count as u32 - 1);
            }
            assert_eq!(found[1], chosen, "step {step}");
            assert!(found.iter().all(|found| found.len() <= method.budget));
        }
    }

    #[test]
    fn equal_blocks_are_found_from_the_first_on() {
        let store = store(&vec![0.5; 300 * 16]);
        let method = Hip { budget: 40, sinks: 0, recent: 10, refresh: 1, ..Hip::default() };
        let found = slots(&method, &store, &[1.0; 32], 0, &mut Memory::default());
        let expected: Vec<u32> = TreeSearch::new(145, 15, Representative::Center)
            .run(|blocks| vec![0.0; blocks.len()])
            .found()
            .flat_map(|block| [2 * block as u32, 2 * block as u32 + 1])
            .chain(290..300)
            .collect();
        assert_eq!(found[0], expected);
        assert_eq!(found[0][0], 0);
    }
}

//! Quest: a query reads the pages whose keys could score highest.
//!
//! A page of keys is bounded per channel by its largest and its smallest numbers, `M` and `m`, and a score with any of its
//! keys by `Σ_c max(q_c M_c, q_c m_c)` ([`KeyBounds`](headwise_kernels::kv::KeyBounds)). The pages with the largest bounds are
//! read, one choice for the query heads of a group: their largest bound counts. Tang et al. 2024, arXiv:2406.10774.

use headwise_kernels::kv::PAGE;

use super::evict::select;
use super::{Memory, Needs, Protected, Reading, Selection, Selector};

headwise_spec::method! {
    /// Keeps every pair and reads, for each token written, the pages of keys that could score highest.
    ///
    /// Saves time, not memory: a page is judged by the extremes of its keys, a sixteenth of what they take in half precision,
    /// and the others are not touched. The first page and the last one are always read. The prompt is read with full
    /// attention. The paper's pages hold 16 pairs; those of this cache hold 32. Beside `h2o`, which needs the attention to
    /// every key, no time is saved. A bound says little where the keys of a page have little in common. Tang et al. 2024, arXiv:2406.10774.
    pub struct Quest {
        /// Pairs that a token reads per key-value head.
        pub budget: usize = 1024,
        /// Pairs that are chosen together; a multiple of 32.
        pub page: usize = 32,
        /// First layers that read everything.
        pub dense_layers: usize = 2,
    }
}

/// Fewest pages that are read: the first, the last and one that is chosen.
const FEWEST: usize = 3;

impl Selector for Quest {
    fn check(&self) -> Result<(), String> {
        let Self { budget, page, .. } = *self;
        if page == 0 || !page.is_multiple_of(PAGE) {
            return Err(format!(
                "`quest`: page={page} cannot be read by itself: the cache holds pages of {PAGE} pairs, so it must be a \
                 multiple of {PAGE}"
            ));
        }
        if budget / page < FEWEST {
            return Err(format!(
                "`quest`: budget={budget} leaves nothing to choose: it must be at least {FEWEST} pages of {page} pairs, the \
                 first and the last among them"
            ));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs { key_bounds: true, ..Needs::default() }
    }

    fn select(&self, reading: &Reading<'_>, _: &mut Memory) -> Selection {
        if reading.store.layer() < self.dense_layers || reading.longest() <= self.budget {
            return Selection::All;
        }
        Selection::Pages(reading.heads(|head| self.pages(reading, head)))
    }
}

impl Quest {
    /// The pages of the cache that the queries of a key-value head read.
    fn pages(&self, reading: &Reading<'_>, head: usize) -> Vec<u32> {
        let (slots, parts) = (reading.slots(head), self.page / PAGE);
        let bounds = reading.store.statistics()[head].key_bounds.scores(reading.group(head));
        let mut scores = vec![f32::NEG_INFINITY; slots.div_ceil(self.page)];
        for bounds in bounds.rows() {
            // Pages of later tokens are bounded too.
            for (parts, score) in bounds.chunks(parts).zip(&mut scores) {
                *score = parts.iter().fold(*score, |score, bound| score.max(*bound));
            }
        }
        let chosen = select(&scores, self.budget / self.page, Protected { sinks: 1, recent: 1 });
        let pages = chosen.into_iter().flat_map(|page| page * parts as u32..(page + 1) * parts as u32);
        pages.take_while(|&page| (page as usize) < slots.div_ceil(PAGE)).collect()
    }
}

#[cfg(test)]
mod tests {
    use headwise_kernels::attention::AttnSpec;
    use headwise_kernels::kv::Codec;

    use super::*;
    use crate::cache::random_pairs::{SHAPE, numbers};
    use crate::cache::{LayerStore, NewPairs};

    /// A store of `slots` random pairs, appended `chunk` at a time.
    fn store(slots: usize, chunk: usize, codec: Codec) -> LayerStore {
        let mut store = LayerStore::new(5, SHAPE, codec, Quest::default().needs(), false);
        let keys = numbers(1, slots * 16);
        let positions: Vec<i32> = (0..slots as i32).collect();
        for (keys, positions) in keys.chunks(chunk * 16).zip(positions.chunks(chunk)) {
            store.append(NewPairs { raw_key: keys, key: keys, value: keys, positions });
        }
        store
    }

    fn pages(quest: &Quest, store: &LayerStore, query: &[f32], later: usize) -> Vec<Vec<u32>> {
        let reading = Reading { store, query, raw_query: query, spec: &AttnSpec::causal(8), later };
        match quest.select(&reading, &mut Memory::default()) {
            Selection::Pages(pages) => pages,
            other => panic!("pages, not {other:?}"),
        }
    }

    /// The bound of the `size` slots from `page · size` on for the two queries of `head`, from their keys one by one.
    fn bound(store: &LayerStore, query: &[f32], head: usize, page: usize, size: usize) -> f64 {
        let read = |slot| {
            let (mut key, mut value) = ([0.0; 8], [0.0; 8]);
            store.pairs()[head].read(slot, &mut key, &mut value);
            key
        };
        let of_part = |query: &[f32], first: usize| -> f64 {
            let keys: Vec<[f32; 8]> = (first..first + PAGE).map(read).collect();
            let channel = |(c, q): (usize, &f32)| {
                let products = keys.iter().map(|key| f64::from(*q) * f64::from(key[c]));
                products.fold(f64::NEG_INFINITY, f64::max)
            };
            query.iter().enumerate().map(channel).sum()
        };
        let firsts = (page * size..(page + 1) * size).step_by(PAGE);
        let queries = query[head * 16..][..16].chunks_exact(8);
        let bounds = queries.flat_map(|query| firsts.clone().map(move |first| of_part(query, first)));
        bounds.fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn the_pages_with_the_largest_bounds_are_read() {
        for (slots, size, budget, codec) in [
            (700, 32, 160, Codec::F32),
            (641, 32, 96, Codec::Int8),
            (640, 32, 200, Codec::F16),
            (900, 64, 256, Codec::F32),
        ] {
            let store = store(slots, 100, codec);
            let quest = Quest { budget, page: size, ..Quest::default() };
            for seed in 0..20 {
                let query = numbers(100 + seed, 32);
                for (head, found) in pages(&quest, &store, &query, 0).into_iter().enumerate() {
                    let last = slots.div_ceil(size) - 1;
                    let mut order: Vec<usize> = (1..last).collect();
                    let key = |page: &usize| bound(&store, &query, head, *page, size);
                    order.sort_by(|a, b| key(b).total_cmp(&key(a)));
                    order.truncate(budget / size - 2);
                    order.extend([0, last]);
                    order.sort_unstable();
                    let parts = order.iter().flat_map(|page| page * size / PAGE..(page + 1) * size / PAGE);
                    let expected: Vec<u32> = parts.filter(|page| page * PAGE < slots).map(|page| page as u32).collect();
                    assert_eq!(found, expected, "{slots} slots, pages of {size}, {codec}, head {head}");
                    assert!(found.len() * PAGE <= budget, "{} pages of {budget} pairs", found.len());
                }
            }
        }
    }

    #[test]
    fn a_key_that_beats_all_bounds_is_read() {
        let slots = 1500;
        let mut keys = numbers(3, slots * 16);
        // Bounds of the others: 8 channels of at most 2 · 2.
        let needle = 777;
        let query = numbers(4, 32);
        keys[needle * 16..][..8].copy_from_slice(&query[..8].iter().map(|q| q * 40.0).collect::<Vec<_>>());
        let mut store = LayerStore::new(2, SHAPE, Codec::F32, Quest::default().needs(), false);
        let positions: Vec<i32> = (0..slots as i32).collect();
        store.append(NewPairs { raw_key: &keys, key: &keys, value: &keys, positions: &positions });
        let found = pages(&Quest { budget: 96, ..Quest::default() }, &store, &query, 0);
        assert_eq!(found[0], [0, (needle / PAGE) as u32, (slots / PAGE) as u32]);
    }

    #[test]
    fn a_row_of_a_chunk_chooses_as_it_would_alone() {
        let quest = Quest { budget: 128, ..Quest::default() };
        let long = store(600, 600, Codec::F16);
        for slots in [401, 448, 449, 599] {
            let alone = store(slots, 1, Codec::F16);
            let query = numbers(slots as u64, 32);
            assert_eq!(pages(&quest, &long, &query, 600 - slots), pages(&quest, &alone, &query, 0), "{slots} slots");
        }
    }

    #[test]
    fn dense_layers_and_short_texts_read_everything() {
        let store = store(200, 200, Codec::F16);
        let query = numbers(1, 32);
        let all = |quest: Quest| {
            let reading =
                Reading { store: &store, query: &query, raw_query: &query, spec: &AttnSpec::causal(8), later: 0 };
            matches!(quest.select(&reading, &mut Memory::default()), Selection::All)
        };
        assert!(all(Quest { budget: 200, ..Quest::default() }));
        assert!(all(Quest { budget: 128, dense_layers: 6, ..Quest::default() }));
        assert!(!all(Quest { budget: 128, dense_layers: 5, ..Quest::default() }));
    }
}

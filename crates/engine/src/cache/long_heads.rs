//! LongHeads: every head reads its own chunks of the text, as if they were all of it.
//!
//! One key `r_j` stands for every full chunk ([`ChunkKeys`](super::ChunkKeys)). A query reads the first chunk, its own and the
//! one before, and those with the largest `q·r_j`, where `q` is the query before rotation, averaged over the heads of a group.
//! What is read counts as consecutive. Lu et al. 2024, arXiv:2402.10685.

use super::chunk_keys::group_means;
use super::evict::select;
use super::{Memory, Needs, Protected, Reading, Selection, Selector};

headwise_spec::method! {
    /// Keeps every pair and lets each head read, for each token written, the chunks of the text that suit it.
    ///
    /// A token is never farther from what it reads than `budget` tokens, so that a text may be longer than those that the model
    /// was trained on; `reindex=false` leaves what is read at its place. What is read is copied side by side, and a choice
    /// costs one product per chunk. The prompt is read with full attention; in the paper its tokens beyond the budget choose,
    /// too. The paper reads 16 chunks of 256. Beside a policy that evicts, chunks of what is left are known by their keys and
    /// values alone. Lu et al. 2024, arXiv:2402.10685.
    pub struct LongHeads {
        /// Pairs that a token reads per key-value head: so many whole chunks.
        pub budget: usize = 1024,
        /// Pairs of a chunk.
        pub chunk: usize = 64,
        /// Pairs that are read count as consecutive.
        pub reindex: bool = true,
    }
}

/// The chunks that are always read: the first, the query's own and the one before.
const ALWAYS: Protected = Protected { sinks: 1, recent: 2 };

impl Selector for LongHeads {
    fn check(&self) -> Result<(), String> {
        let Self { budget, chunk, .. } = *self;
        if chunk == 0 {
            return Err("`long_heads`: chunk=0 holds nothing: it must be at least 1".into());
        }
        let fewest = ALWAYS.sinks + ALWAYS.recent + 1;
        if budget / chunk < fewest {
            return Err(format!(
                "`long_heads`: budget={budget} leaves nothing to choose: it must be at least {fewest} chunks of {chunk} pairs, \
                 the first and the last two among them"
            ));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs { chunk: self.chunk, ..Needs::default() }
    }

    fn reindexes(&self) -> bool {
        self.reindex
    }

    fn select(&self, reading: &Reading<'_>, _: &mut Memory) -> Selection {
        if reading.longest() <= self.budget {
            return Selection::All;
        }
        let queries = group_means(reading.raw_query, reading.store.shape());
        Selection::Slots(reading.heads(|head| self.slots(reading, head, &queries)))
    }
}

impl LongHeads {
    /// The slots of the chunks that key-value head `head` reads; `queries` are `[kv_heads, head_dim]`.
    fn slots(&self, reading: &Reading<'_>, head: usize, queries: &[f32]) -> Vec<u32> {
        let (slots, head_dim) = (reading.slots(head), reading.store.shape().head_dim);
        let query = &queries[head * head_dim..][..head_dim];
        let keys = reading.store.chunk_keys().of(head).chunks_exact(head_dim);
        // Chunks of later tokens may be full, too.
        let own = slots.saturating_sub(1) / self.chunk;
        let mut scores: Vec<f32> = keys.take(own).map(|key| key.iter().zip(query).map(|(k, q)| k * q).sum()).collect();
        scores.push(0.0);
        let chosen = select(&scores, self.budget / self.chunk, ALWAYS);
        let chosen = chosen.into_iter().map(|chunk| chunk as usize * self.chunk);
        chosen.flat_map(|first| first as u32..(first + self.chunk).min(slots) as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use headwise_kernels::attention::AttnSpec;
    use headwise_kernels::kv::Codec;

    use super::*;
    use crate::cache::random_pairs::{SHAPE, numbers};
    use crate::cache::{Attended, LayerStore, NewPairs};

    /// A store of `slots` random pairs that `method` reads.
    fn store(method: &LongHeads, slots: usize) -> LayerStore {
        let mut store = LayerStore::new(0, SHAPE, Codec::F32, method.needs(), false);
        let (keys, queries) = (numbers(1, slots * 16), numbers(2, slots * 32));
        let positions: Vec<i32> = (0..slots as i32).collect();
        store.append(NewPairs { raw_key: &keys, key: &keys, value: &keys, positions: &positions });
        let attended = Attended { raw_query: &queries, query: &queries, lse: &[] };
        store.observe(attended, &AttnSpec::causal(8), None);
        store
    }

    fn selected(method: &LongHeads, store: &LayerStore, query: &[f32], later: usize) -> Selection {
        let reading = Reading { store, query: &[], raw_query: query, spec: &AttnSpec::causal(8), later };
        method.select(&reading, &mut Memory::default())
    }

    /// The slots of `head` by the definition, in double precision.
    fn expected(method: &LongHeads, store: &LayerStore, query: &[f32], head: usize, slots: usize) -> Vec<u32> {
        let own = (slots - 1) / method.chunk;
        let score = |chunk: &usize| -> f64 {
            let key = &store.chunk_keys().of(head)[chunk * 8..][..8];
            let query = |c: usize| f64::from(query[head * 16 + c]) + f64::from(query[head * 16 + 8 + c]);
            key.iter().enumerate().map(|(c, k)| f64::from(*k) * query(c) / 2.0).sum()
        };
        let mut order: Vec<usize> = (1..own.saturating_sub(1)).collect();
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order.truncate(method.budget / method.chunk - 3);
        order.extend([0, own.saturating_sub(1), own]);
        order.sort_unstable();
        order.dedup();
        (0..slots as u32).filter(|slot| order.contains(&(*slot as usize / method.chunk))).collect()
    }

    #[test]
    fn the_chunks_that_suit_a_query_are_read() {
        for (chunk, budget) in [(16, 100), (5, 20), (1, 9), (32, 128)] {
            let method = LongHeads { budget, chunk, ..LongHeads::default() };
            for (slots, later) in [(300, 0), (304, 0), (305, 4), (305, 70), (150, 0)] {
                let store = store(&method, slots);
                for seed in 0..10 {
                    let query = numbers(10 + seed, 32);
                    let Selection::Slots(found) = selected(&method, &store, &query, later) else { panic!("slots") };
                    for (head, found) in found.iter().enumerate() {
                        let expected = expected(&method, &store, &query, head, slots - later);
                        assert_eq!(*found, expected, "chunks of {chunk}, {slots} slots, {later} later, head {head}");
                        assert!(found.len() <= budget);
                    }
                }
            }
        }
    }

    #[test]
    fn heads_of_different_lengths_read_their_own_chunks() {
        let method = LongHeads { budget: 64, chunk: 16, ..LongHeads::default() };
        let mut store = store(&method, 200);
        store.compact(&[(0..200).step_by(2).collect(), vec![0, 7, 199]]);
        store.extend_chunks(&[], &AttnSpec::causal(8));
        let query = numbers(9, 32);
        let Selection::Slots(found) = selected(&method, &store, &query, 0) else { panic!("slots") };
        assert_eq!(found[0], expected(&method, &store, &query, 0, 100));
        assert_eq!(found[1], [0, 1, 2]);
    }

    #[test]
    fn equal_chunks_are_read_from_the_first_on_and_short_texts_whole() {
        let method = LongHeads { budget: 60, chunk: 10, ..LongHeads::default() };
        let store = store(&method, 200);
        let Selection::Slots(found) = selected(&method, &store, &[0.0; 32], 0) else { panic!("slots") };
        let chunks: Vec<u32> = found[0].iter().map(|slot| slot / 10).step_by(10).collect();
        assert_eq!(chunks, [0, 1, 2, 3, 18, 19]);
        assert!(matches!(selected(&method, &store, &[0.0; 32], 140), Selection::All));
    }
}

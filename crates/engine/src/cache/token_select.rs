//! TokenSelect: a query reads the tokens for which its heads vote.
//!
//! Every query head votes softly, `c_hj = softmax_j(q_h·k_j / √d)` over the candidates `j`, so that no head outvotes the others
//! by long keys; `score_j = Σ_h c_hj`, and the tokens with the largest scores are read, beside the first and the most recent
//! ones. Queries change slowly: the choice stays while the cosine of the query with the one it was made for is at least
//! `similarity`. Wu et al. 2024, arXiv:2411.02886.

use std::ops::Range;

use headwise_kernels::attention::scores;
use headwise_kernels::softmax::softmax;

use super::evict::select;
use super::{Memory, Protected, Reading, Selection, Selector};
use crate::cosine::cosine;

headwise_spec::method! {
    /// Keeps every pair and reads, for each token written, the tokens that the heads of a layer vote for.
    ///
    /// To vote, the queries are compared with all keys, unless they are much like those of the last vote: that choice then
    /// stays. All heads of a layer read the same tokens, which are copied side by side and count as consecutive, so that
    /// distances stay those of a short text; `reindex=false` leaves them at their places. The prompt is read with full
    /// attention and keys vote at their own positions; the paper also selects for chunks of the prompt, and lets all keys
    /// vote at one distance. Wu et al. 2024, arXiv:2411.02886.
    pub struct TokenSelect {
        /// Pairs that a token reads per key-value head, the first and the most recent ones included.
        pub budget: usize = 1024,
        /// First tokens that are always read.
        pub sinks: usize = 16,
        /// Most recent tokens that are always read.
        pub recent: usize = 128,
        /// Least cosine of two queries for which the choice stays; above 1 every token chooses anew.
        pub similarity: f64 = 0.9,
        /// All heads of a layer read the same tokens, if they hold the same ones; else each group chooses its own.
        pub shared: bool = true,
        /// Tokens that are read count as consecutive.
        pub reindex: bool = true,
    }
}

impl Selector for TokenSelect {
    fn check(&self) -> Result<(), String> {
        let Self { budget, sinks, recent, similarity, .. } = *self;
        if recent == 0 {
            return Err("`token_select`: recent=0 leaves out the token itself: it must be at least 1".into());
        }
        if sinks.checked_add(recent).is_none_or(|always| always >= budget) {
            return Err(format!(
                "`token_select`: budget={budget} leaves nothing to vote on: it must be above sinks + recent = {sinks} + {recent}"
            ));
        }
        if similarity.is_nan() {
            return Err("`token_select`: similarity is no number".into());
        }
        Ok(())
    }

    fn reindexes(&self) -> bool {
        self.reindex
    }

    fn select(&self, reading: &Reading<'_>, memory: &mut Memory) -> Selection {
        if reading.longest() <= self.budget {
            return Selection::All;
        }
        if memory.slots.is_empty() || cosine(reading.raw_query, &memory.query) < self.similarity {
            memory.query = reading.raw_query.to_vec();
            memory.slots = self.vote(reading);
        }
        let read = |(head, chosen): (usize, &Vec<u32>)| {
            let Range { start, end } = self.candidates(reading.slots(head));
            let (first, last) = (0..start as u32, end as u32..reading.slots(head) as u32);
            first.chain(chosen.iter().copied()).chain(last).collect()
        };
        Selection::Slots(memory.slots.iter().enumerate().map(read).collect())
    }
}

impl TokenSelect {
    /// The slots of `slots` that can be voted for.
    fn candidates(&self, slots: usize) -> Range<usize> {
        let first = self.sinks.min(slots);
        first..slots.saturating_sub(self.recent).max(first)
    }

    /// The candidates of every key-value head with the most votes.
    fn vote(&self, reading: &Reading<'_>) -> Vec<Vec<u32>> {
        let shape = reading.store.shape();
        let (group, kv_heads) = (shape.group(), shape.kv_heads);
        let pairs = reading.store.pairs();
        let scores = scores(reading.spec, shape.of_heads(), reading.query, reading.later, pairs);
        let mut votes: Vec<Vec<f32>> = reading.heads(|head| {
            let candidates = self.candidates(reading.slots(head));
            let scores = &scores[head * group..(head + 1) * group];
            soft_votes(scores.iter().map(|scores| &scores[candidates.clone()]))
        });
        let alike = |head: usize| pairs[head].positions() == pairs[0].positions();
        if self.shared && (1..kv_heads).all(alike) {
            let (all, others) = votes.split_at_mut(1);
            for votes in others {
                all[0].iter_mut().zip(votes).for_each(|(sum, vote)| *sum += *vote);
            }
            return vec![self.best(&votes[0]); kv_heads];
        }
        reading.heads(|head| self.best(&votes[head]))
    }

    /// The slots of the candidates with the most `votes`.
    fn best(&self, votes: &[f32]) -> Vec<u32> {
        let chosen = select(votes, self.budget - self.sinks - self.recent, Protected::default());
        chosen.into_iter().map(|candidate| candidate + self.sinks as u32).collect()
    }
}

/// The sum over heads of the softmax of their scores.
fn soft_votes<'a>(heads: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let (mut sums, mut votes) = (Vec::new(), Vec::new());
    for scores in heads.filter(|scores| !scores.is_empty()) {
        votes.resize(scores.len(), 0.0);
        sums.resize(scores.len(), 0.0);
        softmax(scores, scores.len(), &mut votes);
        sums.iter_mut().zip(&votes).for_each(|(sum, vote)| *sum += vote);
    }
    sums
}

#[cfg(test)]
mod tests {
    use headwise_kernels::attention::AttnSpec;
    use headwise_kernels::kv::Codec;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::cache::{LayerStore, Needs, NewPairs, StoreShape};

    const SHAPE: StoreShape = StoreShape { heads: 4, kv_heads: 2, head_dim: 8, window: None };

    fn numbers(seed: u64, count: usize, most: f32) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-most..most)).collect()
    }

    fn store(keys: &[f32]) -> LayerStore {
        let mut store = LayerStore::new(0, SHAPE, Codec::F32, Needs::default(), false);
        let positions: Vec<i32> = (0..keys.len() as i32 / 16).collect();
        store.append(NewPairs { raw_key: keys, key: keys, value: keys, positions: &positions });
        store
    }

    fn slots(
        method: &TokenSelect,
        store: &LayerStore,
        query: &[f32],
        later: usize,
        memory: &mut Memory,
    ) -> Vec<Vec<u32>> {
        let reading = Reading { store, query, raw_query: query, spec: &AttnSpec::causal(8), later };
        match method.select(&reading, memory) {
            Selection::Slots(slots) => slots,
            other => panic!("slots, not {other:?}"),
        }
    }

    /// The votes of the heads `heads` for slot after slot of `candidates`, in double precision.
    fn votes(keys: &[f32], query: &[f32], heads: Range<usize>, candidates: Range<usize>) -> Vec<f64> {
        let mut votes = vec![0.0; candidates.len()];
        for head in heads {
            let score = |slot: usize| {
                let key = &keys[slot * 16 + head / 2 * 8..][..8];
                let dot: f64 = key.iter().zip(&query[head * 8..]).map(|(k, q)| f64::from(*k) * f64::from(*q)).sum();
                (dot / 8f64.sqrt()).exp()
            };
            let scores: Vec<f64> = candidates.clone().map(score).collect();
            let total: f64 = scores.iter().sum();
            votes.iter_mut().zip(scores).for_each(|(vote, score)| *vote += score / total);
        }
        votes
    }

    #[test]
    fn the_tokens_with_the_most_votes_are_read() {
        let (keys, all) = (numbers(1, 300 * 16, 2.0), 300usize);
        let store = store(&keys);
        for (shared, later) in [(true, 0), (false, 0), (true, 7)] {
            let method = TokenSelect { budget: 40, sinks: 3, recent: 9, shared, ..TokenSelect::default() };
            let end = all - later;
            for seed in 0..10 {
                let query = numbers(10 + seed, 32, 2.0);
                let found = slots(&method, &store, &query, later, &mut Memory::default());
                for (head, found) in found.iter().enumerate() {
                    let heads = if shared { 0..4 } else { 2 * head..2 * head + 2 };
                    let votes = votes(&keys, &query, heads, 3..end - 9);
                    let mut order: Vec<usize> = (0..votes.len()).collect();
                    order.sort_by(|a, b| votes[*b].total_cmp(&votes[*a]));
                    let mut expected: Vec<u32> = order[..28].iter().map(|slot| *slot as u32 + 3).collect();
                    expected.extend((0..3).chain(end as u32 - 9..end as u32));
                    expected.sort_unstable();
                    assert_eq!(*found, expected, "shared {shared}, {later} later, head {head}");
                }
            }
        }
    }

    #[test]
    fn a_head_with_long_keys_does_not_outvote_the_others() {
        // Heads 0 and 1 look for slot 100; the keys of heads 2 and 3 are ten times as long and say nothing of it.
        let (mut keys, query) = (numbers(1, 400 * 16, 1.0), numbers(2, 32, 1.0));
        for key in keys.chunks_exact_mut(16) {
            key[8..].iter_mut().for_each(|x| *x *= 10.0);
        }
        let wanted: Vec<f32> = (0..8).map(|c| 8.0 * (query[c] + query[8 + c])).collect();
        keys[100 * 16..][..8].copy_from_slice(&wanted);
        let method = TokenSelect { budget: 20, sinks: 2, recent: 2, ..TokenSelect::default() };
        let found = slots(&method, &store(&keys), &query, 0, &mut Memory::default());
        assert!(found.iter().all(|slots| slots.contains(&100)));
    }

    #[test]
    fn the_choice_stays_while_queries_are_alike() {
        let store = store(&numbers(1, 300 * 16, 2.0));
        let method = TokenSelect { budget: 40, sinks: 3, recent: 9, ..TokenSelect::default() };
        let (query, mut memory) = (numbers(5, 32, 2.0), Memory::default());
        let first = slots(&method, &store, &query, 20, &mut memory);
        let nearly: Vec<f32> = query.iter().map(|x| 3.0 * x + 0.1).collect();
        let stays = slots(&method, &store, &nearly, 10, &mut memory);
        assert_eq!(stays[0][..31], first[0][..31], "the choice");
        assert_eq!(stays[0][31..], (281..290).collect::<Vec<u32>>(), "the most recent");
        let other = numbers(6, 32, 2.0);
        let anew = slots(&method, &store, &other, 10, &mut memory);
        assert_eq!(anew, slots(&method, &store, &other, 10, &mut Memory::default()));
        assert_ne!(anew, stays);
        let always = TokenSelect { similarity: 1.1, ..method };
        let mut memory = Memory::default();
        slots(&always, &store, &query, 20, &mut memory);
        let expected = slots(&always, &store, &nearly, 10, &mut Memory::default());
        assert_eq!(slots(&always, &store, &nearly, 10, &mut memory), expected);
    }
}

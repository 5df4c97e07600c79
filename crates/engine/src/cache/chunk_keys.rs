//! One key that stands for every chunk of a head's pairs, made of what its tokens say of each other (LongHeads).
//!
//! With the keys `k_t` of a chunk rotated by their places in it, `v_t` their values and `q_i` the queries of its tokens, rotated
//! likewise and averaged over the heads of a group: `a = mean_i Σ_t softmax_t(q_i·k_t / √d) v_t`, and the chunk's key is
//! `r = Σ_t softmax_t(a·k_t / √d) k_t`, all `[head_dim]`. Lu et al. 2024, arXiv:2402.10685.
//!
//! Queries are kept until their chunk is full. What an eviction leaves is cut into chunks anew; the queries of those tokens are
//! gone, and `a` is then the mean of the values.

use headwise_kernels::attention::{AttnSpec, Rows, RowsMut, Segment, Shape, StatsOut, attend};
use headwise_kernels::kv::KeyValues;
use headwise_kernels::kv::saved::{put, put_list, take_count, take_list};
use headwise_kernels::rope::{HeadLayout, Rope};
use headwise_kernels::softmax::softmax;

use super::StoreShape;
use super::read::read;

/// The keys of the full chunks of a layer.
#[derive(Clone, Debug, Default)]
pub struct ChunkKeys {
    /// Pairs of a chunk; without any, nothing is gathered.
    chunk: usize,
    /// `[kv_heads][chunks, head_dim]`.
    keys: Vec<Vec<f32>>,
    /// `[tokens, kv_heads · head_dim]`: queries of the last tokens, rotated and averaged over groups.
    queries: Vec<f32>,
    /// Tokens whose queries have come.
    tokens: usize,
}

impl ChunkKeys {
    /// Keys of no chunk of `chunk` pairs, of `kv_heads` heads.
    pub(super) fn new(chunk: usize, kv_heads: usize) -> Self {
        Self { chunk, keys: vec![Vec::new(); kv_heads], ..Self::default() }
    }

    /// The keys of the full chunks of key-value head `head`, `[chunks, head_dim]`.
    pub fn of(&self, head: usize) -> &[f32] {
        &self.keys[head]
    }

    /// Takes the rotated queries `[rows, heads · head_dim]` of the last of `tokens` tokens, as far as it has not seen them.
    pub(super) fn extend(&mut self, shape: StoreShape, queries: &[f32], tokens: usize) {
        if self.chunk == 0 {
            return;
        }
        let StoreShape { heads, head_dim, .. } = shape;
        let width = heads * head_dim;
        let known = (queries.len() / width).saturating_sub(tokens - self.tokens);
        self.queries.extend(group_means(&queries[known * width..], shape));
        self.tokens = tokens;
    }

    /// Makes the keys of the chunks of `pairs` that have become full.
    pub(super) fn update(&mut self, shape: StoreShape, pairs: &[KeyValues], spec: &AttnSpec, rope: Option<&Rope>) {
        if self.chunk == 0 {
            return;
        }
        let width = shape.kv_heads * shape.head_dim;
        let rows = self.queries.len() / width;
        for (head, (pairs, keys)) in pairs.iter().zip(&mut self.keys).enumerate() {
            let done = keys.len() / shape.head_dim;
            for first in (done * self.chunk..).step_by(self.chunk).take_while(|first| first + self.chunk <= pairs.len())
            {
                // The last rows are the last slots.
                let row = |slot: usize| (rows + slot).saturating_sub(pairs.len());
                let known = &self.queries[row(first) * width..row(first + self.chunk) * width];
                let queries: Vec<f32> = known
                    .chunks_exact(width)
                    .flat_map(|row| &row[head * shape.head_dim..][..shape.head_dim])
                    .copied()
                    .collect();
                let slots: Vec<u32> = (first as u32..(first + self.chunk) as u32).collect();
                keys.extend(chunk_key(&pairs.gathered(&slots), &queries, shape.head_dim, spec, rope));
            }
        }
        let open = pairs.iter().map(|pairs| pairs.len() % self.chunk).max().unwrap_or(0);
        self.queries.drain(..rows.saturating_sub(open) * width);
    }

    /// Forgets what holds of slot `slots[head]` of every head and those after it, which have changed.
    pub(super) fn forget_from(&mut self, slots: &[usize], head_dim: usize) {
        if self.chunk > 0 {
            self.keys.iter_mut().zip(slots).for_each(|(keys, slot)| keys.truncate(slot / self.chunk * head_dim));
            self.queries.clear();
        }
    }

    /// Appends everything to `out`.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        if self.chunk > 0 {
            self.keys.iter().for_each(|keys| put_list(out, keys));
            put_list(out, &self.queries);
            put(out, &[self.tokens as u64]);
        }
    }

    /// Takes what [`ChunkKeys::save`] wrote of the heads `pairs` after `tokens` tokens off the front of `bytes`, into keys of chunks of
    /// the same length; `None` if `bytes` are something else.
    pub(super) fn load(
        &mut self,
        bytes: &mut &[u8],
        shape: StoreShape,
        pairs: &[KeyValues],
        tokens: usize,
    ) -> Option<()> {
        if self.chunk == 0 {
            return Some(());
        }
        for (keys, pairs) in self.keys.iter_mut().zip(pairs) {
            *keys = take_list(bytes, pairs.len() / self.chunk * shape.head_dim)?;
            if !keys.len().is_multiple_of(shape.head_dim) {
                return None;
            }
        }
        let width = shape.kv_heads * shape.head_dim;
        self.queries = take_list(bytes, tokens * width)?;
        self.tokens = take_count(bytes, tokens)?;
        self.queries.len().is_multiple_of(width).then_some(())
    }

    /// Memory held.
    pub(super) fn bytes(&self) -> usize {
        self.keys.iter().map(|keys| size_of_val(&keys[..])).sum::<usize>() + size_of_val(&self.queries[..])
    }
}

/// The means over groups `[rows, kv_heads · head_dim]` of `queries` `[rows, heads · head_dim]`.
pub(super) fn group_means(queries: &[f32], shape: StoreShape) -> Vec<f32> {
    let (group, head_dim) = (shape.group(), shape.head_dim);
    let mut means = Vec::with_capacity(queries.len() / group);
    for queries in queries.chunks_exact(group * head_dim) {
        means.extend(mean(queries, head_dim));
    }
    means
}

/// The mean `[width]` of `rows` `[rows, width]`.
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let count = (rows.len() / width) as f32;
    mean.iter_mut().for_each(|sum| *sum /= count);
    mean
}

/// The key of `chunk`, of whose tokens the queries `[rows, head_dim]` are known.
fn chunk_key(chunk: &KeyValues, queries: &[f32], head_dim: usize, spec: &AttnSpec, rope: Option<&Rope>) -> Vec<f32> {
    let (mut keys, values) = read(chunk, head_dim);
    let said = match queries {
        [] => mean(&values, head_dim),
        _ => mean(&outputs(chunk, queries, head_dim, spec), head_dim),
    };
    if let (Some(rope), Some(first)) = (rope, chunk.positions().first()) {
        let layout = HeadLayout { row_stride: head_dim, heads: 1, head_dim };
        rope.rotate_by(&mut keys, layout, chunk.len(), -first);
    }
    let score = |key: &[f32]| {
        let product: f64 = said.iter().zip(key).map(|(a, k)| f64::from(*a) * f64::from(*k)).sum();
        spec.score(product) as f32
    };
    let scores: Vec<f32> = keys.chunks_exact(head_dim).map(score).collect();
    let mut weights = vec![0.0; scores.len()];
    softmax(&scores, scores.len(), &mut weights);
    let mut sum = vec![0.0; head_dim];
    for (key, weight) in keys.chunks_exact(head_dim).zip(weights) {
        sum.iter_mut().zip(key).for_each(|(sum, k)| *sum += weight * k);
    }
    sum
}

/// What `queries` `[rows, head_dim]` get when each attends to all of `chunk`. Scores depend on distances only, so rotations by the
/// places in the text do.
fn outputs(chunk: &KeyValues, queries: &[f32], head_dim: usize, spec: &AttnSpec) -> Vec<f32> {
    let both_ways = AttnSpec { scale: spec.scale, softcap: spec.softcap, ..AttnSpec::default() };
    let shape = Shape { heads: 1, kv_heads: 1, head_dim, value_dim: head_dim };
    let mut out = vec![0.0; queries.len()];
    let segment = Segment { rows: 0..queries.len() / head_dim, heads: std::slice::from_ref(chunk) };
    let query = Rows { data: queries, stride: head_dim };
    let rows = RowsMut { data: &mut out, stride: head_dim };
    attend(&both_ways, shape, query, &[segment], rows, &mut StatsOut::default());
    out
}

#[cfg(test)]
mod tests {
    use headwise_kernels::kv::Codec;

    use super::*;
    use crate::cache::random_pairs::{SHAPE, numbers};
    use crate::cache::{Attended, LayerStore, Needs, NewPairs};

    fn rope() -> Rope {
        Rope::new(vec![0.7, 0.11, 0.03, 0.004], 1.0, false)
    }

    /// A store of `rows` random rows, read `piece` at a time; with their raw keys, values and raw queries.
    fn store(rows: usize, piece: usize, chunk: usize) -> (LayerStore, [Vec<f32>; 3]) {
        let (raw_keys, values, raw_queries) = (numbers(1, rows * 16), numbers(2, rows * 16), numbers(3, rows * 32));
        let positions: Vec<i32> = (0..rows as i32).collect();
        let (mut keys, mut queries) = (raw_keys.clone(), raw_queries.clone());
        rope().rotate(&mut keys, HeadLayout { row_stride: 16, heads: 2, head_dim: 8 }, &positions);
        rope().rotate(&mut queries, HeadLayout { row_stride: 32, heads: 4, head_dim: 8 }, &positions);
        let needs = Needs { chunk, ..Needs::default() };
        let mut store = LayerStore::new(0, SHAPE, Codec::F32, needs, false);
        for first in (0..rows).step_by(piece) {
            let of = |width: usize| first * width..(first + piece).min(rows) * width;
            store.append(NewPairs {
                raw_key: &raw_keys[of(16)],
                key: &keys[of(16)],
                value: &values[of(16)],
                positions: &positions[of(1)],
            });
            let attended = Attended { raw_query: &raw_queries[of(32)], query: &queries[of(32)], lse: &[] };
            store.observe(attended, &AttnSpec::causal(8), Some(&rope()));
        }
        (store, [raw_keys, values, raw_queries])
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn softmax(scores: Vec<f64>) -> Vec<f64> {
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        scores.iter().map(|score| score.exp() / sum).collect()
    }

    /// The key of the slots `first..first + chunk` of `head`, by its definition in double precision.
    fn naive(rows: &[Vec<f32>; 3], head: usize, first: usize, chunk: usize, known: bool) -> Vec<f64> {
        let turned = |mut x: Vec<f32>, place: usize| -> Vec<f64> {
            let layout = HeadLayout { row_stride: 8, heads: 1, head_dim: 8 };
            rope().rotate(&mut x, layout, &[place as i32]);
            x.into_iter().map(f64::from).collect()
        };
        let [keys, values, queries] = rows;
        let key = |t: usize| turned(keys[(first + t) * 16 + head * 8..][..8].to_vec(), t);
        let value = |t: usize| -> Vec<f64> {
            values[(first + t) * 16 + head * 8..][..8].iter().map(|x| f64::from(*x)).collect()
        };
        let query = |t: usize| {
            let group = &queries[(first + t) * 32 + head * 16..][..16];
            turned((0..8).map(|c| (group[c] + group[8 + c]) / 2.0).collect(), t)
        };
        let keys: Vec<Vec<f64>> = (0..chunk).map(key).collect();
        let mut said = vec![0.0; 8];
        for i in 0..chunk {
            let even = vec![1.0 / chunk as f64; chunk];
            let query = query(i);
            let attended = softmax(keys.iter().map(|key| dot(&query, key) / 8f64.sqrt()).collect());
            for (t, weight) in (if known { attended } else { even }).into_iter().enumerate() {
                said.iter_mut().zip(value(t)).for_each(|(sum, v)| *sum += weight * v / chunk as f64);
            }
        }
        let weights = softmax(keys.iter().map(|key| dot(&said, key) / 8f64.sqrt()).collect());
        (0..8).map(|c| keys.iter().zip(&weights).map(|(key, weight)| key[c] * weight).sum()).collect()
    }

    #[track_caller]
    fn check(found: &[f32], expected: &[f64], what: &str) {
        let near = found.len() == 8 && found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4);
        assert!(near, "{what}: {found:?} for {expected:?}");
    }

    #[test]
    fn keys_are_those_of_the_definition_however_the_text_is_read() {
        for (rows, chunk) in [(75, 16), (64, 32), (130, 65), (20, 1), (9, 10)] {
            let (whole, inputs) = store(rows, rows, chunk);
            for piece in [1, 7, 40] {
                let (other, _) = store(rows, piece, chunk);
                for head in 0..2 {
                    assert_eq!(other.chunk_keys().of(head), whole.chunk_keys().of(head), "pieces of {piece}");
                }
                assert_eq!(other.bytes(), whole.bytes());
            }
            for head in 0..2 {
                let keys = whole.chunk_keys().of(head);
                assert_eq!(keys.len(), rows / chunk * 8);
                for (index, key) in keys.chunks_exact(8).enumerate() {
                    let expected = naive(&inputs, head, index * chunk, chunk, true);
                    check(key, &expected, &format!("{rows} in chunks of {chunk}, chunk {index} of head {head}"));
                }
            }
            let statistics = whole.bytes().statistics;
            assert_eq!(statistics, 4 * (2 * (rows / chunk) * 8 + rows % chunk * 16), "{rows} in chunks of {chunk}");
        }
    }

    #[test]
    fn what_an_eviction_leaves_is_cut_anew() {
        let (mut store, inputs) = store(90, 90, 16);
        let before = store.chunk_keys().of(0).to_vec();
        let keep: Vec<u32> = (0..90).collect();
        store.compact(&[keep[..40].iter().chain(&keep[58..]).copied().collect(), keep[10..].to_vec()]);
        assert_eq!(store.chunk_keys().of(0), &before[..2 * 8], "the chunks before the first slot that left");
        assert!(store.chunk_keys().of(1).is_empty());
        let attended = Attended { raw_query: &[], query: &[], lse: &[] };
        store.observe(attended, &AttnSpec::causal(8), Some(&rope()));
        assert_eq!((store.chunk_keys().of(0).len(), store.chunk_keys().of(1).len()), (4 * 8, 5 * 8));
        for index in 0..5 {
            let expected = naive(&inputs, 1, 10 + index * 16, 16, false);
            check(&store.chunk_keys().of(1)[index * 8..][..8], &expected, &format!("chunk {index}"));
        }
    }
}

//! Attention that slots have received: from all rows, or from the last queries.

use headwise_kernels::attention::{self, AttnSpec, HeadSum, Rows, RowsMut, Segment, Shape, StatsOut, attend};
use headwise_kernels::kv::KeyValues;
use headwise_kernels::kv::saved::{put_list, take_list};

use super::{LayerStore, StoreShape};

impl LayerStore {
    /// Attention that every slot receives from the last `rows` queries of the text, `[kv_heads][slots]`: the mean over the
    /// queries and the query heads of a group. The store has to gather a query window as long.
    pub fn window_attention(&self, rows: usize) -> Vec<Vec<f32>> {
        let query = self.queries.last(rows);
        let count = query.len() / (self.shape().heads * self.shape().head_dim);
        let mut sums = match self.attention() {
            Some((spec, _)) if self.holds_last(count) => sums_of(self.shape(), self.pairs(), &query, spec),
            Some((spec, _)) => self.column_sums_by_position(&query, spec),
            None => zeros(self.pairs()),
        };
        let share = 1.0 / (count.max(1) * self.shape().group()) as f32;
        sums.iter_mut().flatten().for_each(|sum| *sum *= share);
        sums
    }

    /// Attention of the last query on every token of the text: the largest over the query heads, scaled to sum 1. The store has to
    /// gather queries; tokens that no head holds get none.
    pub fn strongest_attention(&self) -> Vec<f32> {
        let mut strongest = vec![0.0f32; self.tokens()];
        let Some((spec, _)) = self.attention() else { return strongest };
        let query = self.queries.last(1);
        let group = self.shape().group();
        let mut weights: Vec<Vec<f32>> = self.pairs().iter().map(|pairs| vec![0.0; group * pairs.len()]).collect();
        let lse = log_sum_exp(self.shape(), self.pairs(), &query, spec);
        let (shape, rows, segment) = request(self.shape(), self.pairs(), &query);
        attention::column_sums(spec, shape, rows, &segment, &lse, HeadSum::Each, &mut weights);
        for (pairs, weights) in self.pairs().iter().zip(&weights) {
            for row in weights.chunks_exact(pairs.len().max(1)) {
                for (&position, &weight) in pairs.positions().iter().zip(row) {
                    let most = &mut strongest[position as usize];
                    *most = most.max(weight);
                }
            }
        }
        let sum: f32 = strongest.iter().sum();
        strongest.iter_mut().for_each(|weight| *weight /= sum.max(f32::MIN_POSITIVE));
        strongest
    }

    /// Whether every head holds the pairs of the last `count` tokens, so that the slots of the queries are theirs.
    fn holds_last(&self, count: usize) -> bool {
        self.pairs().iter().all(|pairs| {
            let last = pairs.positions().last().is_some_and(|&last| last as usize + 1 == self.tokens());
            let first = pairs.len().checked_sub(count).and_then(|slot| pairs.positions().get(slot));
            count == 0 || last && first.is_some_and(|&first| first as usize + count == self.tokens())
        })
    }

    /// The same where earlier policies have evicted recent pairs: each query by itself over the slots it may see.
    fn column_sums_by_position(&self, query: &[f32], spec: &AttnSpec) -> Vec<Vec<f32>> {
        let width = self.shape().heads * self.shape().head_dim;
        let first = self.tokens() - query.len() / width;
        let mut total = zeros(self.pairs());
        for (position, row) in (first..).zip(query.chunks_exact(width)) {
            let mut visible = self.pairs().to_vec();
            for pairs in &mut visible {
                pairs.truncate(pairs.positions().partition_point(|&at| at as usize <= position));
            }
            for (total, sums) in total.iter_mut().zip(sums_of(self.shape(), &visible, row, spec)) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        total
    }
}

/// Rows whose attention is not in the column sums yet: rows that come one by one are added together, because most of the
/// work is to read the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingRows {
    query: Vec<f32>,
    lse: Vec<f32>,
}

impl WaitingRows {
    /// Adds rows of `query` `[rows, heads · head_dim]` with their `lse` `[rows, heads]`.
    pub fn extend(&mut self, query: &[f32], lse: &[f32]) {
        self.query.extend(query);
        self.lse.extend(lse);
    }

    /// Query heads of all rows.
    pub fn len(&self) -> usize {
        self.lse.len()
    }

    /// Adds to `totals` the attention that every slot of `pairs` received from the rows, which are the last of the text; none
    /// wait then.
    pub fn add_to(&mut self, totals: &mut [Vec<f32>], shape: StoreShape, pairs: &[KeyValues], spec: &AttnSpec) {
        add_column_sums(totals, shape, pairs, &self.query, &self.lse, spec);
        (self.query, self.lse) = Default::default();
    }

    /// Appends everything to `out`.
    pub fn save(&self, out: &mut Vec<u8>) {
        put_list(out, &self.query);
        put_list(out, &self.lse);
    }

    /// Takes what [`WaitingRows::save`] wrote off the front of `bytes`: rows of a layer of `shape`, at most `most`. `None` if `bytes` are
    /// something else.
    pub fn load(&mut self, bytes: &mut &[u8], shape: StoreShape, most: usize) -> Option<()> {
        self.query = take_list(bytes, most * shape.heads * shape.head_dim)?;
        self.lse = take_list(bytes, most * shape.heads)?;
        (self.query.len() == self.lse.len() * shape.head_dim && self.lse.len().is_multiple_of(shape.heads))
            .then_some(())
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.query[..]) + size_of_val(&self.lse[..])
    }
}

/// Attention that every slot of `pairs` receives from `query`, whose log-sum-exp is not known.
fn sums_of(shape: StoreShape, pairs: &[KeyValues], query: &[f32], spec: &AttnSpec) -> Vec<Vec<f32>> {
    let mut sums = zeros(pairs);
    add_column_sums(&mut sums, shape, pairs, query, &log_sum_exp(shape, pairs, query, spec), spec);
    sums
}

/// Log-sum-exp of the scores of `query` `[rows, heads · head_dim]`, the last rows of the text: `[rows, heads]`.
pub(super) fn log_sum_exp(shape: StoreShape, pairs: &[KeyValues], query: &[f32], spec: &AttnSpec) -> Vec<f32> {
    let (shape, rows, segment) = request(shape, pairs, query);
    let mut spec = spec.clone();
    spec.want.lse = true;
    let mut stats = StatsOut::default();
    let mut out = vec![0.0; query.len()];
    let out = RowsMut { data: &mut out, stride: rows.stride };
    attend(&spec, shape, rows, &[segment], out, &mut stats);
    stats.lse
}

/// Adds to `sums` `[kv_heads][slots]` the attention that every slot of `pairs` receives from `query` `[rows, heads ·
/// head_dim]`, the last rows of the text, given their `lse`: summed over rows and the query heads of a group.
fn add_column_sums(
    sums: &mut [Vec<f32>],
    shape: StoreShape,
    pairs: &[KeyValues],
    query: &[f32],
    lse: &[f32],
    spec: &AttnSpec,
) {
    let (shape, rows, segment) = request(shape, pairs, query);
    attention::column_sums(spec, shape, rows, &segment, lse, HeadSum::Group, sums);
}

/// `query` over `pairs` as the kernels take them.
fn request<'a>(
    shape: StoreShape,
    pairs: &'a [KeyValues],
    query: &'a [f32],
) -> (Shape, Rows<'a>, Segment<'a, KeyValues>) {
    let width = shape.heads * shape.head_dim;
    let segment = Segment { rows: 0..query.len() / width, heads: pairs };
    (shape.of_heads(), Rows { data: query, stride: width }, segment)
}

fn zeros(pairs: &[KeyValues]) -> Vec<Vec<f32>> {
    pairs.iter().map(|pairs| vec![0.0; pairs.len()]).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::decoder::{Induction, Weights};

    use super::*;
    use crate::Engine;
    use crate::cache::{CachePolicy, Needs};

    #[test]
    fn the_strongest_attention_is_the_largest_weight_over_heads() {
        let model = Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap();
        let engine = Engine::new(model, 2).unwrap();
        let needs = Needs { query_window: 1, ..Needs::default() };
        let policy = CachePolicy::parse("f32").unwrap().also_gathering(needs);
        let mut sequence = engine.sequence(&policy).unwrap();
        let ids: Vec<u32> = (0..90).map(|token| (token * 7) % 61).collect();
        engine.prefill(&mut sequence, &ids, |_| {}).unwrap();
        for store in sequence.layers() {
            let StoreShape { heads, head_dim, .. } = store.shape();
            let query = store.queries.last(1);
            let (spec, _) = store.attention().unwrap();
            let mut largest = vec![0.0f64; ids.len()];
            for head in 0..heads {
                let pairs = &store.pairs()[head / store.shape().group()];
                let scores: Vec<f64> = (0..ids.len())
                    .map(|slot| {
                        let (mut key, mut value) = (vec![0.0; head_dim], vec![0.0; head_dim]);
                        pairs.read(slot, &mut key, &mut value);
                        let query = &query[head * head_dim..][..head_dim];
                        spec.score(query.iter().zip(&key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum())
                    })
                    .collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
                largest.iter_mut().zip(&scores).for_each(|(a, score)| *a = a.max((score - most).exp() / total));
            }
            let sum: f64 = largest.iter().sum();
            for (found, expected) in store.strongest_attention().iter().zip(&largest) {
                assert!((f64::from(*found) - expected / sum).abs() < 1e-5, "{found}, expected {}", expected / sum);
            }
        }
    }
}

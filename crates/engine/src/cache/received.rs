//! Attention that slots have received: from all rows, or from the last queries.

use headwise_kernels::attention::{AttnSpec, HeadSum, Rows, RowsMut, Segment, Shape, StatsOut, attend, column_sums as sum_columns};
use headwise_kernels::kv::KeyValues;

use super::{LayerStore, StoreShape};

impl LayerStore {
    /// Attention that every slot receives from the last `rows` queries of the text, `[kv_heads][slots]`: the mean over the
    /// queries and the query heads of a group. The store has to gather a query window as long.
    pub fn window_attention(&self, rows: usize) -> Vec<Vec<f32>> {
        let query = self.queries.last(rows);
        let count = query.len() / (self.shape().heads * self.shape().head_dim);
        let mut sums = match self.attention() {
            Some((spec, _)) if self.holds_last(count) => column_sums(self.shape(), self.pairs(), &query, &[], spec),
            Some((spec, _)) => self.column_sums_by_position(&query, spec),
            None => zeros(self.pairs()),
        };
        let share = 1.0 / (count.max(1) * self.shape().group()) as f32;
        sums.iter_mut().flatten().for_each(|sum| *sum *= share);
        sums
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
            for (total, sums) in total.iter_mut().zip(column_sums(self.shape(), &visible, row, &[], spec)) {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        total
    }
}

/// Attention that every slot of `pairs` receives from `query` `[rows, heads · head_dim]`, the last rows of the text:
/// `[kv_heads][slots]`, summed over rows and the query heads of a group. `lse` of the rows, or empty to compute it.
pub(super) fn column_sums(
    shape: StoreShape,
    pairs: &[KeyValues],
    query: &[f32],
    lse: &[f32],
    spec: &AttnSpec,
) -> Vec<Vec<f32>> {
    let StoreShape { heads, kv_heads, head_dim, .. } = shape;
    let width = heads * head_dim;
    let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
    let rows = Rows { data: query, stride: width };
    let segment = Segment { rows: 0..query.len() / width, heads: pairs };
    let mut stats = StatsOut::default();
    let lse = if lse.is_empty() {
        let mut spec = spec.clone();
        spec.want.lse = true;
        let mut out = vec![0.0; query.len()];
        let out = RowsMut { data: &mut out, stride: width };
        attend(&spec, shape, rows, std::slice::from_ref(&segment), out, &mut stats);
        &stats.lse
    } else {
        lse
    };
    let mut sums = zeros(pairs);
    sum_columns(spec, shape, rows, &segment, lse, HeadSum::Group, &mut sums);
    sums
}

fn zeros(pairs: &[KeyValues]) -> Vec<Vec<f32>> {
    pairs.iter().map(|pairs| vec![0.0; pairs.len()]).collect()
}

//! A cache for one whole text that shows what every layer's heads attend to.

use std::ops::Range;

use headwise_kernels::attention::{
    AttnSpec, Float, HeadSum, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut, Strided, attend, column_sums,
};
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};

/// Keeps nothing; calls `note` for every layer that has attended.
pub(crate) struct Probe<F>(pub F);

/// The heads of a layer over one text whose positions count from zero.
pub(crate) struct Looking<'a> {
    pub layer: usize,
    pub shape: Shape,
    /// The layer's sliding window.
    pub window: Option<usize>,
    spec: &'a AttnSpec,
    /// Rotated queries, `[tokens, heads · head_dim]`.
    query: Rows<'a>,
    /// Rotated keys, `[tokens, kv_heads · head_dim]`.
    key: Rows<'a>,
    /// Values, `[tokens, kv_heads · head_dim]`.
    value: Rows<'a>,
    positions: &'a [i32],
    /// Log-sum-exp of every row's scores, `[tokens, heads]`.
    lse: &'a [f32],
}

impl Looking<'_> {
    /// The rotated query of row `row` of head `head`.
    pub fn query(&self, head: usize, row: usize) -> &[f32] {
        self.query.head(row, head, self.shape.head_dim)
    }

    /// The score of row `row` of head `head` on key `column`, which must not be later; none outside the window.
    pub fn score(&self, head: usize, row: usize, column: usize) -> Option<f64> {
        let (distance, head_dim) = (row - column, self.shape.head_dim);
        if self.window.is_some_and(|window| distance >= window) {
            return None;
        }
        let query = self.query(head, row);
        let key = self.key.head(column, head / self.shape.group(), head_dim);
        let product: f64 = query.iter().zip(key).map(|(q, k)| f64::from(q * k)).sum();
        let slope = self.spec.alibi.as_ref().map_or(0.0, |slopes| f64::from(slopes[head]));
        Some(self.spec.score(product) - slope * distance as f64)
    }

    /// The products of all queries of the rows `rows` with every key up to the last of these, summed over rows and heads: `Σ q·k`, without
    /// scale.
    pub fn products(&self, rows: Range<usize>) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        // The sum over queries can be taken before the product.
        let mut queries = vec![vec![0.0; head_dim]; kv_heads];
        for (row, head) in rows.clone().flat_map(|row| (0..heads).map(move |head| (row, head))) {
            let sum = &mut queries[head / self.shape.group()];
            sum.iter_mut().zip(self.query(head, row)).for_each(|(sum, x)| *sum += x);
        }
        let product = |column: usize, head: usize| {
            let key = self.key.head(column, head, head_dim);
            key.iter().zip(&queries[head]).map(|(k, q)| k * q).sum::<f32>()
        };
        (0..rows.end).map(|column| (0..kv_heads).map(|head| product(column, head)).sum()).collect()
    }

    /// The weight of row `row` of head `head` on key `column`, which must not be later.
    pub fn weight(&self, head: usize, row: usize, column: usize) -> f64 {
        let lse = f64::from(self.lse[row * self.shape.heads + head]);
        self.score(head, row, column).map_or(0.0, |score| (score - lse).exp().min(1.0))
    }

    /// The weights of row `row` on all keys that it sees, `[kv_heads][group · (row + 1)]`.
    pub fn weights(&self, row: usize) -> Vec<Vec<f32>> {
        let Shape { heads, kv_heads, .. } = self.shape;
        // As if the text ended with the row.
        let seen = sources(self.shape, [self.key, self.value], &self.positions[..row + 1]);
        let query = Rows { data: &self.query.data[row * self.query.stride..][..self.query.stride], ..self.query };
        let lse = &self.lse[row * heads..][..heads];
        let mut weights = vec![vec![0.0; self.shape.group() * (row + 1)]; kv_heads];
        let segment = Keys { rows: 0..1, heads: &seen };
        column_sums(self.spec, self.shape, query, &segment, lse, HeadSum::Each, &mut weights);
        weights
    }
}

/// The first tokens of `key` and `value`, those with `positions`, as the kernels take them: a source per key-value head.
fn sources<'a>(shape: Shape, [key, value]: [Rows<'a>; 2], positions: &'a [i32]) -> Vec<Float<'a>> {
    let head_dim = shape.head_dim;
    let of = |rows: Rows<'a>, head: usize| Strided {
        data: &rows.data[head * head_dim..],
        stride: rows.stride,
        rows: positions.len(),
        width: head_dim,
    };
    let source = |head| Float { keys: of(key, head), values: of(value, head), positions: Some(positions) };
    (0..shape.kv_heads).map(source).collect()
}

impl<F: FnMut(&Looking<'_>)> LayerCache for Probe<F> {
    fn attend(
        &mut self,
        layer: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        segments: &[Segment],
        out: &mut [f32],
    ) {
        debug_assert!(segments.len() == 1, "a probe reads one whole text");
        let Projected { heads, kv_heads, head_dim, value, .. } = projected;
        let (width, kv_width, tokens) = (heads * head_dim, kv_heads * head_dim, positions.len());
        let (query, key) = projected.rotated(rope, positions);
        let spec = &AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..spec.clone() };
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let rows = Rows { data: &query, stride: width };
        let (key, value) = (Rows { data: &key, stride: kv_width }, Rows { data: value, stride: kv_width });
        let sources = sources(shape, [key, value], positions);
        let mut stats = StatsOut::default();
        let keys = [Keys { rows: 0..tokens, heads: &sources }];
        attend(spec, shape, rows, &keys, RowsMut { data: out, stride: width }, &mut stats);
        let (window, query, lse) = (spec.window, rows, &stats.lse[..]);
        (self.0)(&Looking { layer, shape, window, spec, query, key, value, positions, lse });
    }
}

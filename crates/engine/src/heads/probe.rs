//! A cache for one whole text that shows what every layer's heads attend to.

use headwise_kernels::attention::{
    AttnSpec, Float, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut, Strided, attend,
};
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};

/// Keeps nothing; calls `note` for every layer that has attended.
pub(super) struct Probe<F>(pub F);

/// The heads of a layer over one text whose positions count from zero.
pub(super) struct Looking<'a> {
    pub layer: usize,
    pub shape: Shape,
    /// The layer's sliding window.
    pub window: Option<usize>,
    spec: &'a AttnSpec,
    /// Rotated queries, `[tokens, heads · head_dim]`.
    query: Rows<'a>,
    /// Rotated keys, `[tokens, kv_heads · head_dim]`.
    key: Rows<'a>,
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

    /// The weight of row `row` of head `head` on key `column`, which must not be later.
    pub fn weight(&self, head: usize, row: usize, column: usize) -> f64 {
        let lse = f64::from(self.lse[row * self.shape.heads + head]);
        self.score(head, row, column).map_or(0.0, |score| (score - lse).exp().min(1.0))
    }
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
        let sources: Vec<Float<'_>> = (0..kv_heads)
            .map(|head| {
                let of = |data| Strided { data, stride: kv_width, rows: tokens, width: head_dim };
                let from = head * head_dim;
                Float { keys: of(&key[from..]), values: of(&value[from..]), positions: Some(positions) }
            })
            .collect();
        let spec = &AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..spec.clone() };
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let rows = Rows { data: &query, stride: width };
        let mut stats = StatsOut::default();
        let keys = [Keys { rows: 0..tokens, heads: &sources }];
        attend(spec, shape, rows, &keys, RowsMut { data: out, stride: width }, &mut stats);
        let key = Rows { data: &key, stride: kv_width };
        (self.0)(&Looking { layer, shape, window: spec.window, spec, query: rows, key, lse: &stats.lse });
    }
}

//! A cache for one text of repeated tokens that notes what every head spends on the earlier occurrences.

use headwise_kernels::attention::{
    AttnSpec, Float, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut, Strided, attend,
};
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};

use super::HeadScore;

/// Keeps nothing but scores.
pub(super) struct Probe {
    /// Tokens that are repeated.
    segment: usize,
    /// The heads of the layers that attended, in order.
    pub heads: Vec<HeadScore>,
}

impl Probe {
    pub fn new(segment: usize) -> Self {
        Self { segment, heads: Vec::new() }
    }
}

impl LayerCache for Probe {
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
        let spec = AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..spec.clone() };
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let rows = Rows { data: &query, stride: width };
        let mut stats = StatsOut::default();
        let keys = [Keys { rows: 0..tokens, heads: &sources }];
        attend(&spec, shape, rows, &keys, RowsMut { data: out, stride: width }, &mut stats);

        for head in 0..heads {
            let kv_head = head / shape.group();
            let weight = |row: usize, column: usize| {
                let (query, key) = (rows.head(row, head, head_dim), &key[column * kv_width + kv_head * head_dim..]);
                weight_of(&spec, head, query, &key[..head_dim], row - column, stats.lse[row * heads + head])
            };
            let [induction, echo] = scores(self.segment, tokens, weight);
            self.heads.push(HeadScore { layer, head, kv_head, window: spec.window, induction, echo });
        }
    }
}

/// The weight of a row on a key `distance` tokens before it, given the log-sum-exp of the row's scores.
fn weight_of(spec: &AttnSpec, head: usize, query: &[f32], key: &[f32], distance: usize, lse: f32) -> f64 {
    if spec.window.is_some_and(|window| distance >= window) {
        return 0.0;
    }
    let product: f64 = query.iter().zip(key).map(|(q, k)| f64::from(q * k)).sum();
    let mut score = spec.score(product);
    if let Some(slopes) = &spec.alibi {
        score -= f64::from(slopes[head]) * distance as f64;
    }
    (score - f64::from(lse)).exp().min(1.0)
}

/// The induction and the echo score of a head whose row `i` gives column `j` the weight `weight(i, j)`, over a text of one
/// first token and a whole number of segments.
fn scores(segment: usize, tokens: usize, weight: impl Fn(usize, usize) -> f64) -> [f64; 2] {
    let (mut induction, mut echo) = (0.0, 0.0);
    for row in segment..tokens - 1 {
        for earlier in (row % segment..row).step_by(segment) {
            // One further, because the first token is not counted.
            echo += weight(row + 1, earlier + 1);
            induction += weight(row + 1, earlier + 2);
        }
    }
    let rows = (tokens - 1 - segment).max(1) as f64;
    [induction / rows, echo / rows]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_looks_at_is_what_it_scores() {
        // `x a b c a b c a b c`: each of six rows has met its token once or twice.
        let one = |from: isize| move |row: usize, column: usize| f64::from(row as isize - from == column as isize);
        assert_eq!(scores(3, 10, one(3)), [0.0, 1.0], "the same token, one segment back");
        assert_eq!(scores(3, 10, one(2)), [1.0, 0.0], "the token after it");
        assert_eq!(scores(3, 10, one(1)), [0.0, 0.0], "the previous token");
        assert_eq!(scores(3, 10, one(6)), [0.0, 0.5], "two segments back, where there are two");
        assert_eq!(scores(3, 10, |_, column| f64::from(column == 0)), [0.0, 0.0], "the first token does not count");
        let even = |row: usize, _| 1.0 / (row + 1) as f64;
        let expected = (4..7).map(|row| 1.0 / (row + 1) as f64).sum::<f64>() / 6.0
            + (7..10).map(|row| 2.0 / (row + 1) as f64).sum::<f64>() / 6.0;
        assert!(scores(3, 10, even).iter().all(|score| (score - expected).abs() < 1e-12));
    }
}

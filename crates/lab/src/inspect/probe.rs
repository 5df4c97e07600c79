//! A cache for one text that notes what every head attends to.
//!
//! Nothing of size tokens × tokens is made: a value carries channels that are sums worth having. Attention to `[v_j, 1, j,
//! j = 0, j < 4]` gives, beside the output, the weight spent on keys (less than 1 with sink logits), the mean position
//! looked at, and the weight on the first tokens.

use headwise_kernels::attention::{
    AttnSpec, Float, HeadSum, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut, Strided, attend, column_sums,
};
use headwise_kernels::rope::Rope;
use headwise_nn::mixer::{LayerCache, Projected, Segment};

use super::row::{HeadMeans, LayerMeans};

/// Keeps nothing but means.
#[derive(Default)]
pub struct Probe {
    /// One entry per layer that attended, in order.
    pub layers: Vec<LayerMeans>,
}

/// Channels after those of a value: weight, position, first token, first four tokens.
const EXTRA: usize = 4;

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
        let Projected { heads, kv_heads, head_dim, .. } = projected;
        let (width, kv_width, tokens) = (heads * head_dim, kv_heads * head_dim, positions.len());
        let (query, key) = projected.rotated(rope, positions);
        let value_dim = head_dim + EXTRA;
        let values = with_sums(projected.value, kv_heads, head_dim);
        let sources: Vec<Float<'_>> = (0..kv_heads)
            .map(|head| Float {
                keys: Strided { data: &key[head * head_dim..], stride: kv_width, rows: tokens, width: head_dim },
                values: Strided {
                    data: &values[head * value_dim..],
                    stride: kv_heads * value_dim,
                    rows: tokens,
                    width: value_dim,
                },
                positions: Some(positions),
            })
            .collect();
        let spec = AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..spec.clone() };
        let shape = Shape { heads, kv_heads, head_dim, value_dim };
        let keys = Keys { rows: 0..tokens, heads: &sources };
        let query = Rows { data: &query, stride: width };
        let mut attended = vec![0.0; tokens * heads * value_dim];
        let mut stats = StatsOut::default();
        let rows = RowsMut { data: &mut attended, stride: heads * value_dim };
        attend(&spec, shape, query, std::slice::from_ref(&keys), rows, &mut stats);
        let mut sums = vec![vec![0.0; tokens]; kv_heads];
        column_sums(&spec, shape, query, &keys, &stats.lse, HeadSum::Group, &mut sums);

        for (out, attended) in out.chunks_exact_mut(head_dim).zip(attended.chunks_exact(value_dim)) {
            out.copy_from_slice(&attended[..head_dim]);
        }
        let means = (0..heads).map(|head| {
            let sums = attended.chunks_exact(value_dim).skip(head).step_by(heads).map(|value| &value[head_dim..]);
            let entropies = stats.entropy.iter().skip(head).step_by(heads);
            HeadMeans::new(sums.zip(entropies).map(|(sums, &entropy)| (sums, entropy)))
        });
        let received = |token: usize| sums.iter().map(|sums| f64::from(sums[token])).sum();
        self.layers.push(LayerMeans {
            layer,
            kv_heads,
            window: spec.window,
            heads: means.collect(),
            received: (0..tokens).map(received).collect(),
            received_evenly: received_evenly(tokens, spec.window, heads),
        });
    }
}

/// Values `[tokens, kv_heads, head_dim]` with the extra channels: `[tokens, kv_heads, head_dim + EXTRA]`.
fn with_sums(values: &[f32], kv_heads: usize, head_dim: usize) -> Vec<f32> {
    let mut extended = Vec::with_capacity(values.len() / head_dim * (head_dim + EXTRA));
    for (pair, value) in values.chunks_exact(head_dim).enumerate() {
        let token = pair / kv_heads;
        let among = |first: usize| f32::from(u8::from(token < first));
        extended.extend_from_slice(value);
        extended.extend_from_slice(&[1.0, token as f32, among(1), among(4)]);
    }
    extended
}

/// Attention that each token would receive from `heads` heads that look at all keys they see evenly.
fn received_evenly(tokens: usize, window: Option<usize>, heads: usize) -> Vec<f64> {
    let window = window.unwrap_or(tokens).max(1);
    let mut received = vec![0.0; tokens];
    // From the last token on: token `j` is seen by the queries from `j` to `j + window - 1`.
    let share = |query: usize| heads as f64 / (query + 1).min(window) as f64;
    let mut sum = 0.0;
    for token in (0..tokens).rev() {
        sum += share(token);
        if token + window < tokens {
            sum -= share(token + window);
        }
        received[token] = sum;
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_attention_is_what_the_definition_says() {
        for window in [None, Some(1), Some(3), Some(50)] {
            let (tokens, heads) = (9, 2);
            let received = received_evenly(tokens, window, heads);
            for (token, received) in received.iter().enumerate() {
                let seen = |query: &usize| token <= *query && window.is_none_or(|window| query - token < window);
                let width = |query: usize| (query + 1).min(window.unwrap_or(tokens));
                let expected: f64 = (0..tokens).filter(seen).map(|query| heads as f64 / width(query) as f64).sum();
                assert!((received - expected).abs() < 1e-12, "{window:?} {token}: {received} {expected}");
            }
        }
    }
}

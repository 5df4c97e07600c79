//! Attention with a sliding window to stores that stand at places of their own.
//!
//! A line, a row and head, sees the end of a store, or all or nothing of it: places less than the window before it. What it sees as a whole
//! is the kernel's; ends are computed here. A line is computed in the same way whatever others there are.

use headwise_kernels::kv::KeyValues;
use headwise_kernels::parallel;
use headwise_kernels::simd::{Kernel, Simd, dispatch};

use super::join::{LayerAttention, Parts};
use crate::cache::read;

impl LayerAttention<'_> {
    /// What lines get of those keys of `stores` that are less than `window` before them: `queries` `[stores, lines, head_dim]` are turned,
    /// `distances` `[stores, lines]` are how far lines stand from place zero.
    pub(super) fn attend_near<'a>(
        &self,
        window: usize,
        queries: &[f32],
        distances: &[i32],
        stores: impl ExactSizeIterator<Item = &'a [KeyValues]>,
    ) -> Parts {
        let (head_dim, lines) = (self.shape.head_dim, distances.len() / stores.len().max(1));
        let rows = lines / self.shape.heads;
        let mut parts = Parts { out: vec![0.0; queries.len()], lse: vec![f32::NEG_INFINITY; distances.len()] };
        let of_parts = parts.out.chunks_mut(lines * head_dim).zip(parts.lse.chunks_mut(lines));
        let of_stores = stores.zip(queries.chunks(lines * head_dim)).zip(distances.chunks(lines));
        for (((heads, query), distances), (out, lse)) in of_stores.zip(of_parts) {
            let hidden: Vec<usize> = distances
                .iter()
                .enumerate()
                .map(|(line, distance)| {
                    let places = heads[self.kv_head(line)].positions();
                    places.partition_point(|place| i64::from(distance - place) >= window as i64)
                })
                .collect();
            if hidden.contains(&0) {
                let whole = self.attend(query, rows, std::iter::once(heads), head_dim);
                for line in (0..lines).filter(|&line| hidden[line] == 0) {
                    lse[line] = whole.lse[line];
                    out[line * head_dim..][..head_dim].copy_from_slice(&whole.out[line * head_dim..][..head_dim]);
                }
            }
            self.attend_ends(heads, query, &hidden, out, lse);
        }
        parts
    }

    /// What the lines that see only a part of a store, whose first `hidden` slots they do not see, get of it.
    fn attend_ends(&self, heads: &[KeyValues], query: &[f32], hidden: &[usize], out: &mut [f32], lse: &mut [f32]) {
        let head_dim = self.shape.head_dim;
        let partial = |line: usize| (1..heads[self.kv_head(line)].len()).contains(&hidden[line]);
        let lines: Vec<usize> = (0..hidden.len()).filter(|&line| partial(line)).collect();
        if lines.is_empty() {
            return;
        }
        let pairs: Vec<(Vec<f32>, Vec<f32>)> = heads.iter().map(|pairs| read(pairs, head_dim)).collect();
        // The output of a line and, last, its log-sum-exp.
        let mut ends = vec![0.0; lines.len() * (head_dim + 1)];
        parallel::pieces(&mut ends, head_dim + 1, |index, end| {
            let line = lines[index];
            let (keys, values) = &pairs[self.kv_head(line)];
            let from = hidden[line] * head_dim;
            let query = &query[line * head_dim..][..head_dim];
            dispatch(End { attention: self, query, keys: &keys[from..], values: &values[from..], end });
        });
        for (line, end) in lines.into_iter().zip(ends.chunks_exact(head_dim + 1)) {
            out[line * head_dim..][..head_dim].copy_from_slice(&end[..head_dim]);
            lse[line] = end[head_dim];
        }
    }

    /// The key-value head of a line.
    fn kv_head(&self, line: usize) -> usize {
        line % self.shape.heads / self.shape.group()
    }
}

/// A query attends to all `keys` `[slots, head_dim]`, at least one.
struct End<'a> {
    attention: &'a LayerAttention<'a>,
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Output, and log-sum-exp.
    end: &'a mut [f32],
}

impl Kernel for End<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { attention, query, keys, values, end } = self;
        let score = |key: &[f32]| {
            let product: f32 = query.iter().zip(key).map(|(q, k)| q * k).sum();
            attention.spec.score(f64::from(product)) as f32
        };
        let scores: Vec<f32> = keys.chunks_exact(query.len()).map(score).collect();
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = scores.iter().map(|score| (score - most).exp()).sum();
        let (out, lse) = end.split_at_mut(query.len());
        for (score, value) in scores.iter().zip(values.chunks_exact(query.len())) {
            let weight = (score - most).exp() / total;
            out.iter_mut().zip(value).for_each(|(x, value)| *x += weight * value);
        }
        lse[0] = most + total.ln();
    }
}

//! One slot in the place of all pairs that a head has dropped.
//!
//! With `N` dropped pairs, `k̂` the mean of their rotated keys and `v̂` that of their values, attention becomes `o = (Σ_j
//! e^{s_j} v_j + N e^{ŝ} v̂) / (Σ_j e^{s_j} + N e^{ŝ})`, `ŝ` the score of `k̂`: a slot whose score has the bias `ln N`. It
//! is exact when the dropped pairs are alike. Tang et al. 2024, arXiv:2407.15891.
//!
//! The slot joins the output of the kernel by its log-sum-exp, so kernels know nothing of it. `k̂` stays where the dropped
//! keys stood: channels that rotate fast average out.

use headwise_kernels::attention::{AttnSpec, merge};
use headwise_kernels::kv::saved::{put, put_list, take_count, take_list};
use headwise_kernels::kv::{KeyValues, StoreBytes};
use headwise_kernels::profile;

use super::{LayerStore, StoreShape};

/// The pairs that a head has dropped: how many, and their mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dropped {
    count: usize,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Dropped {
    /// Appends everything to `out`.
    pub fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.count as u64]);
        put_list(out, &self.key);
        put_list(out, &self.value);
    }

    /// Takes what [`Dropped::save`] wrote off the front of `bytes`, of a head as wide as `head_dim`; `None` if `bytes` are something else.
    pub fn load(&mut self, bytes: &mut &[u8], head_dim: usize) -> Option<()> {
        self.count = take_count(bytes, u32::MAX as usize)?;
        self.key = take_list(bytes, head_dim)?;
        self.value = take_list(bytes, head_dim)?;
        let width = if self.count > 0 { head_dim } else { 0 };
        (self.key.len() == width && self.value.len() == width).then_some(())
    }

    /// Adds the pairs of `pairs` that are not among the slots `keep`, ascending.
    fn extend(&mut self, pairs: &KeyValues, keep: &[u32], head_dim: usize) {
        let (mut key, mut value) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        let mut kept = keep.iter().copied().peekable();
        for slot in 0..pairs.len() {
            if kept.next_if_eq(&(slot as u32)).is_none() {
                pairs.read(slot, &mut key, &mut value);
                self.add(&key, &value);
            }
        }
    }

    /// Adds one pair.
    fn add(&mut self, key: &[f32], value: &[f32]) {
        self.count += 1;
        self.key.resize(key.len(), 0.0);
        self.value.resize(value.len(), 0.0);
        let share = 1.0 / self.count as f32;
        let toward = |(mean, x): (&mut f32, &f32)| *mean += (x - *mean) * share;
        self.key.iter_mut().zip(key).for_each(toward);
        self.value.iter_mut().zip(value).for_each(toward);
    }

    /// Joins what `query` `[head_dim]` reads here with what it has read elsewhere, `out` `[head_dim]`.
    fn join(&self, spec: &AttnSpec, query: &[f32], lse: &mut f32, out: &mut [f32]) {
        let product: f64 = query.iter().zip(&self.key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        merge(out, lse, &self.value, (spec.score(product) + (self.count as f64).ln()) as f32);
    }

    /// Memory held: a pair in single precision, and its count.
    pub fn bytes(&self) -> StoreBytes {
        let statistics = if self.count > 0 { size_of::<usize>() } else { 0 };
        let pairs = size_of_val(&self.key[..]) + size_of_val(&self.value[..]);
        StoreBytes { pairs, statistics, ..StoreBytes::default() }
    }
}

impl LayerStore {
    /// Lets the pairs that are not among the slots `keep` of their head live on in the head's slot for dropped pairs.
    pub(super) fn absorb_dropped(&mut self, keep: &[Vec<u32>]) {
        let _span = profile::whole("eviction, dropped pairs");
        let head_dim = self.shape().head_dim;
        let mut dropped = std::mem::take(&mut self.dropped);
        for ((dropped, pairs), keep) in dropped.iter_mut().zip(self.pairs()).zip(keep) {
            dropped.extend(pairs, keep, head_dim);
        }
        self.dropped = dropped;
    }

    /// Pairs that the slot for dropped pairs weighs as much as, at least.
    pub(super) fn dropped_pairs_cost(&self) -> usize {
        (2 * self.shape().head_dim * size_of::<f32>()).div_ceil(self.pair_bytes().max(1))
    }

    /// How many dropped pairs the slot of every key-value head stands for.
    pub fn dropped_counts(&self) -> Vec<usize> {
        self.dropped.iter().map(|dropped| dropped.count).collect()
    }

    /// Whether any head has a slot for dropped pairs.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped.iter().any(|dropped| dropped.count > 0)
    }

    /// Adds what the slots for dropped pairs give to rows that have attended: `query` and `out` `[rows, heads · head_dim]`,
    /// `lse` `[rows, heads]`.
    pub(crate) fn attend_dropped(&self, spec: &AttnSpec, query: &[f32], lse: &mut [f32], out: &mut [f32]) {
        if !self.has_dropped() {
            return;
        }
        let _span = profile::span("attention, dropped pairs");
        let StoreShape { heads, head_dim, .. } = self.shape();
        let group = self.shape().group();
        let rows = query.chunks_exact(head_dim).zip(lse).zip(out.chunks_exact_mut(head_dim));
        for (index, ((query, lse), out)) in rows.enumerate() {
            let dropped = &self.dropped[index % heads / group];
            if dropped.count > 0 {
                dropped.join(spec, query, lse, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Attention as a textbook writes it, in f64, one row at a time.

use headwise_kernels::attention::AttnSpec;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers in `-1..1`, the same for the same seed.
pub fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// One query row of one head, and what it sees.
pub struct Row<'a> {
    pub spec: &'a AttnSpec,
    pub head: usize,
    /// Index of the row's own slot and the positions of all slots.
    pub slot: isize,
    pub positions: Option<&'a [i32]>,
    pub bias: Option<&'a [f32]>,
}

/// What a row computes.
#[derive(Clone, Debug)]
pub struct Result {
    pub output: Vec<f64>,
    pub lse: f64,
    pub entropy: f64,
    /// The weight of every key.
    pub weights: Vec<f64>,
    /// The scores after the soft cap and before everything else.
    pub capped: Vec<f64>,
}

impl Row<'_> {
    fn position(&self, slot: isize) -> f64 {
        match self.positions {
            None => slot as f64,
            Some(positions) => f64::from(positions[slot.max(0) as usize]),
        }
    }

    fn sees(&self, key: usize) -> bool {
        if self.spec.blocks.as_ref().is_some_and(|mask| !mask.sees(self.head, self.slot, key)) {
            return false;
        }
        let distance = self.position(self.slot) - self.position(key as isize);
        let before = key as isize <= self.slot;
        match self.spec.window {
            None => !self.spec.causal || before,
            Some(window) => before && (distance < window as f64 || key < self.spec.sinks_keep),
        }
    }

    /// Attention of `query` over `keys` and `values`, one vector per slot.
    pub fn attend(&self, query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Result {
        let capped: Vec<f64> = keys
            .iter()
            .map(|key| {
                let score: f64 = f64::from(self.spec.scale) * key.iter().zip(query).map(|(k, q)| k * q).sum::<f64>();
                self.spec.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            })
            .collect();
        let logits: Vec<f64> = (0..keys.len())
            .map(|key| {
                let distance = (self.position(self.slot) - self.position(key as isize)).abs();
                let slope = self.spec.alibi.as_ref().map_or(0.0, |slopes| f64::from(slopes[self.head]));
                let bias = self.bias.map_or(0.0, |bias| f64::from(bias[key]));
                if self.sees(key) { capped[key] - slope * distance + bias } else { f64::NEG_INFINITY }
            })
            .collect();
        let sink = self.spec.sink_logits.as_ref().map_or(f64::NEG_INFINITY, |logits| f64::from(logits[self.head]));
        let maximum = logits.iter().copied().fold(sink, f64::max);
        let lse = if maximum == f64::NEG_INFINITY {
            maximum
        } else {
            maximum + logits.iter().chain([&sink]).map(|logit| (logit - maximum).exp()).sum::<f64>().ln()
        };
        let weight = |logit: f64| if logit == f64::NEG_INFINITY { 0.0 } else { (logit - lse).exp() };
        let weights: Vec<f64> = logits.iter().map(|&logit| weight(logit)).collect();
        let width = values.first().map_or(0, Vec::len);
        let output =
            (0..width).map(|c| weights.iter().zip(values).map(|(weight, value)| weight * value[c]).sum()).collect();
        let entropy = weights
            .iter()
            .chain([&weight(sink)])
            .filter(|weight| **weight > 0.0)
            .map(|weight| -weight * weight.ln())
            .sum();
        Result { output, lse, entropy, weights, capped }
    }
}

/// Panics unless all of `actual` is within `tolerance` of `expected`, relative to numbers above 1.
pub fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let same = f64::from(actual) == expected;
        let error = (f64::from(actual) - expected).abs() / expected.abs().max(1.0);
        assert!(same || error <= tolerance, "{what}[{i}]: {actual} instead of {expected}");
    }
}

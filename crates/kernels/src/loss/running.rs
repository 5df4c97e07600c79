//! The softmax of rows while blocks of their logits, `[class][row]`, pass by.
//!
//! Lanes are rows: what is largest in a row and the sum of its exponentials need no reduction across lanes.

use super::forward::ROWS;
use crate::simd::{Kernel, LANES, Simd};

/// The softmax of a row over some classes: the largest logit `m`, `Σ e^{A - m}`, and `Σ A` if it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub maximum: f32,
    pub sum: f32,
    pub total: f32,
}

impl Default for Record {
    fn default() -> Self {
        Self { maximum: f32::NEG_INFINITY, sum: 0.0, total: 0.0 }
    }
}

impl Record {
    pub fn merge(self, other: Self) -> Self {
        let maximum = if other.maximum > self.maximum { other.maximum } else { self.maximum };
        // Of nothing but −∞, the sum is 0: no −∞ − −∞ may make it NaN.
        let part = |record: Self| match record.maximum {
            f32::NEG_INFINITY => record.sum,
            _ => record.sum * (record.maximum - maximum).exp(),
        };
        Self { maximum, sum: part(self) + part(other), total: self.total + other.total }
    }
}

/// The softmax of each row while blocks pass by.
pub(super) struct Running {
    maximum: [f32; ROWS],
    sum: [f32; ROWS],
    total: [f32; ROWS],
}

impl Running {
    pub fn new() -> Self {
        Self { maximum: [f32::NEG_INFINITY; ROWS], sum: [0.0; ROWS], total: [0.0; ROWS] }
    }

    pub fn record(&self, row: usize) -> Record {
        Record { maximum: self.maximum[row], sum: self.sum[row], total: self.total[row] }
    }
}

/// Turns products into logits, and adds up those of each class.
pub(super) struct Finish<'a> {
    pub logits: &'a mut [f32],
    pub rows: usize,
    pub bias: Option<&'a [f32]>,
    pub softcap: Option<f32>,
    pub sums: Option<&'a mut [f32]>,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cap, inverse) = self.softcap.map_or((0.0, 0.0), |cap| (cap, 1.0 / cap));
        let (cap, inverse) = (s.splat(cap), s.splat(inverse));
        if self.bias.is_some() || self.softcap.is_some() {
            for (class, logits) in self.logits.chunks_exact_mut(ROWS).enumerate() {
                let bias = s.splat(self.bias.map_or(0.0, |bias| bias[class]));
                for at in (0..self.rows).step_by(LANES) {
                    let mut logit = s.add(s.read(logits, at, 0.0), bias);
                    if self.softcap.is_some() {
                        logit = s.mul(cap, s.tanh(s.mul(logit, inverse)));
                    }
                    s.write(logits, at, logit);
                }
            }
        }
        if let Some(sums) = self.sums {
            for (logits, sum) in self.logits.chunks_exact(ROWS).zip(sums) {
                let logits = &logits[..self.rows];
                let mut total = s.zero();
                for at in (0..self.rows).step_by(LANES) {
                    total = s.add(total, s.read(logits, at, 0.0));
                }
                *sum += s.sum(total);
            }
        }
    }
}

/// Adds a block of logits to the running softmax.
pub(super) struct Add<'a> {
    pub logits: &'a [f32],
    pub rows: usize,
    pub running: &'a mut Running,
    pub totals: bool,
}

/// Vectors of rows that pass by side by side.
const TOGETHER: usize = 4;

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Lanes after the last row hold anything: `ROWS` is a multiple of what passes by together, and nobody reads them.
        for at in (0..self.rows).step_by(TOGETHER * LANES) {
            let mut largest = [s.splat(f32::NEG_INFINITY); TOGETHER];
            let mut totals = [s.zero(); TOGETHER];
            for logits in self.logits.chunks_exact(ROWS) {
                for i in 0..TOGETHER {
                    let logit = s.read(logits, at + i * LANES, 0.0);
                    largest[i] = s.max(logit, largest[i]);
                    if self.totals {
                        totals[i] = s.add(totals[i], logit);
                    }
                }
            }
            let mut reference = [s.zero(); TOGETHER];
            let mut sums = [s.zero(); TOGETHER];
            for i in 0..TOGETHER {
                let lane = at + i * LANES;
                let old = s.read(&self.running.maximum, lane, 0.0);
                let maximum = s.max(largest[i], old);
                // With −∞ alone the reference is 0, so that all exponentials are 0.
                let lowest = s.splat(f32::MIN);
                reference[i] = s.select_less(maximum, lowest, s.zero(), maximum);
                sums[i] = s.mul(s.read(&self.running.sum, lane, 0.0), s.exp(s.sub(old, reference[i])));
                s.write(&mut self.running.maximum, lane, maximum);
                if self.totals {
                    let total = s.add(s.read(&self.running.total, lane, 0.0), totals[i]);
                    s.write(&mut self.running.total, lane, total);
                }
            }
            for logits in self.logits.chunks_exact(ROWS) {
                for i in 0..TOGETHER {
                    let logit = s.read(logits, at + i * LANES, 0.0);
                    sums[i] = s.add(sums[i], s.exp(s.sub(logit, reference[i])));
                }
            }
            for (i, sum) in sums.into_iter().enumerate() {
                s.write(&mut self.running.sum, at + i * LANES, sum);
            }
        }
    }
}

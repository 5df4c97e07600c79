//! The gradient of a block of logits.

use super::pass::{ROWS, STRIDE};
use super::{CutCrossEntropy, Forward, Settings, Upstream};
use crate::simd::{Kernel, LANES, Simd};

/// What the gradient of a row's logits is made of: `dA = weight · p - uniform - hit · onehot`, with `p = e^{A - lse}`.
///
/// All lists end in rows that have no gradient, up to a whole block.
pub(super) struct RowFactors {
    settings: Settings,
    /// What each class has of the smoothed targets.
    share: f32,
    log_sum_exp: Vec<f32>,
    weight: Vec<f32>,
    uniform: Vec<f32>,
    hit: Vec<f32>,
}

impl RowFactors {
    /// Numbers that are kept for each row.
    pub const NUMBERS: usize = 4;

    pub fn new(problem: &CutCrossEntropy<'_>, forward: &Forward, upstream: Upstream<'_>) -> Self {
        let (settings, targets) = (problem.settings, problem.targets);
        let lengths = [Some(&forward.log_sum_exp[..]), upstream.losses, upstream.log_sum_exp];
        assert!(lengths.into_iter().flatten().all(|x| x.len() == targets.rows()), "a number for each row");
        let padded = targets.count().next_multiple_of(ROWS);
        let share = settings.label_smoothing / problem.classifier.rows().max(1) as f32;
        let zeros = || vec![0.0; padded];
        let log_sum_exp = vec![f32::INFINITY; padded];
        let mut found = Self { settings, share, log_sum_exp, weight: zeros(), uniform: zeros(), hit: zeros() };
        for index in 0..targets.count() {
            let row = targets.row(index);
            let log_sum_exp = forward.log_sum_exp[row];
            let loss = upstream.losses.map_or(0.0, |losses| losses[row]);
            let direct = upstream.log_sum_exp.map_or(0.0, |gradients| gradients[row]);
            found.log_sum_exp[index] = log_sum_exp;
            found.weight[index] = loss * (1.0 + 2.0 * settings.z_loss * log_sum_exp) + direct;
            found.uniform[index] = loss * share;
            found.hit[index] = loss * (1.0 - settings.label_smoothing);
        }
        found
    }
}

/// A block of logits before bias and cap, `[class][row]` with `STRIDE`.
pub(super) struct Block<'a> {
    pub logits: &'a mut [f32],
    pub biases: &'a [f32],
    /// For each row the class of the block that is its target, if one is.
    pub targets: &'a [Option<usize>],
    /// The first row, among those that count.
    pub first: usize,
}

/// Writes the gradient over the logits, and for each class `max |p - target|` over the rows.
pub(super) struct BlockGradient<'a> {
    pub block: Block<'a>,
    pub rows: &'a RowFactors,
    pub largest: &'a mut [f32],
}

impl Kernel for BlockGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block, rows, largest } = self;
        // What the targets' own logits are is kept aside, since of them alone another gradient is wanted.
        let mut kept = [0.0; ROWS];
        for (row, class) in block.targets.iter().enumerate() {
            if let &Some(class) = class {
                kept[row] = block.logits[class * STRIDE + row] + block.biases[class];
                block.logits[class * STRIDE + row] = f32::NEG_INFINITY;
            }
        }
        let count = block.targets.len();
        match rows.settings.softcap {
            None => gradients::<S, false>(s, block.logits, block.biases, count, block.first, rows, largest),
            Some(_) => gradients::<S, true>(s, block.logits, block.biases, count, block.first, rows, largest),
        }
        for (row, class) in block.targets.iter().enumerate() {
            if let &Some(class) = class {
                let (gradient, distance) = rows.of_target(s, kept[row], block.first + row);
                block.logits[class * STRIDE + row] = gradient;
                largest[class] = largest[class].max(distance);
            }
        }
    }
}

impl RowFactors {
    /// The gradient of the logit of a row's target, and how far its probability is from the target.
    #[inline(always)]
    fn of_target<S: Simd>(&self, s: S, logit: f32, row: usize) -> (f32, f32) {
        let (mut logit, mut slope) = (s.splat(logit), 1.0);
        if let Some(cap) = self.settings.softcap {
            let tanh = s.tanh(s.mul(logit, s.splat(1.0 / cap)));
            logit = s.mul(s.splat(cap), tanh);
            let tanh = s.to_array(tanh)[0];
            slope = 1.0 - tanh * tanh;
        }
        let p = s.to_array(s.exp(s.sub(logit, s.splat(self.log_sum_exp[row]))))[0];
        let distance = (p - self.share - (1.0 - self.settings.label_smoothing)).abs();
        ((self.weight[row] * p - self.uniform[row] - self.hit[row]) * slope, distance)
    }
}

/// The gradients of all logits that are no targets, and for each class the largest `|p - share|`.
#[inline(always)]
fn gradients<S: Simd, const CAPPED: bool>(
    s: S,
    logits: &mut [f32],
    biases: &[f32],
    count: usize,
    first: usize,
    rows: &RowFactors,
    largest: &mut [f32],
) {
    let cap = rows.settings.softcap.unwrap_or(1.0);
    let (cap, inverse, share) = (s.splat(cap), s.splat(1.0 / cap), s.splat(rows.share));
    for ((logits, &bias), largest) in logits.chunks_exact_mut(STRIDE).zip(biases).zip(largest) {
        let (bias, mut furthest) = (s.splat(bias), s.zero());
        for at in (0..count).step_by(LANES) {
            let of_row = |list: &[f32]| s.read(list, first + at, 0.0);
            let mut logit = s.add(s.read(logits, at, 0.0), bias);
            let mut slope = s.splat(1.0);
            if CAPPED {
                let tanh = s.tanh(s.mul(logit, inverse));
                logit = s.mul(cap, tanh);
                slope = s.sub(slope, s.mul(tanh, tanh));
            }
            let p = s.exp(s.sub(logit, of_row(&rows.log_sum_exp)));
            furthest = s.max(s.abs(s.sub(p, share)), furthest);
            let mut gradient = s.sub(s.mul(p, of_row(&rows.weight)), of_row(&rows.uniform));
            if CAPPED {
                gradient = s.mul(gradient, slope);
            }
            s.write(logits, at, gradient);
        }
        *largest = s.largest(furthest);
    }
}

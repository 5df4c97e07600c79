//! The online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135).
//!
//! A line's state after some keys is `m = max s`, `l = Σ e^{s-m}`, `acc = Σ e^{s-m} v` and, for the entropy,
//! `t = Σ e^{s-m} (s - m)`. A new maximum rescales all of them. Keys that are not visible have `s = -∞` and change nothing.
//! States over different keys merge, which is how splits of the keys are joined.

use std::ops::Range;

use super::source::BLOCK;
use crate::product::{Columns, Factors, Size, Start, multiply};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// The states of a tile's lines while the blocks of one split pass by; the sums are kept in sixteen lanes.
#[derive(Default)]
pub(super) struct Running {
    maximum: Vec<f32>,
    sum: Vec<f32>,
    tilt: Vec<f32>,
    acc: Vec<f32>,
    vectors: usize,
    entropy: bool,
}

impl Running {
    /// Starts `lines` empty states with `vectors` vectors of output.
    pub fn reset(&mut self, lines: usize, vectors: usize, entropy: bool) {
        (self.vectors, self.entropy) = (vectors, entropy);
        refill(&mut self.maximum, lines, f32::NEG_INFINITY);
        refill(&mut self.sum, lines * LANES, 0.0);
        refill(&mut self.tilt, if entropy { lines * LANES } else { 0 }, 0.0);
        refill(&mut self.acc, lines * vectors * LANES, 0.0);
    }

    /// Turns the scores `[rows, BLOCK]` of at most sixteen lines from `line` on into weights relative to their new
    /// maxima; `shrink` receives what each line's state shrinks by.
    #[inline(always)]
    pub fn weigh<S: Simd>(&mut self, s: S, line: usize, scores: &mut [f32], shrink: &mut [f32]) {
        let mut old = [0.0; LANES];
        let mut reference = [0.0; LANES];
        for (row, scores) in scores.chunks_exact(BLOCK).take(shrink.len()).enumerate() {
            let [a, b, c, d] = vectors(s, scores);
            let block = s.largest(s.max(s.max(a, b), s.max(c, d)));
            let maximum = &mut self.maximum[line + row];
            old[row] = *maximum;
            *maximum = if block > *maximum { block } else { *maximum };
            // With nothing visible yet the reference is 0, so that no −∞ − −∞ appears: all weights are e^{-∞} = 0.
            reference[row] = if *maximum == f32::NEG_INFINITY { 0.0 } else { *maximum };
        }
        let factors = s.to_array(s.exp_below_zero(s.sub(s.from_array(old), s.from_array(reference))));
        for (row, scores) in scores.chunks_exact_mut(BLOCK).take(shrink.len()).enumerate() {
            shrink[row] = factors[row];
            let moved = if old[row] == f32::NEG_INFINITY { 0.0 } else { old[row] - reference[row] };
            self.weigh_line(s, line + row, scores, reference[row], factors[row], moved);
        }
    }

    /// Turns a line's scores into weights relative to `reference` and adds their sums to its state.
    ///
    /// `shrink = e^moved` is what the state shrinks by, because its maximum moved by `moved`.
    #[inline(always)]
    fn weigh_line<S: Simd>(&mut self, s: S, line: usize, scores: &mut [f32], reference: f32, shrink: f32, moved: f32) {
        let (reference, shrink) = (s.splat(reference), s.splat(shrink));
        let (mut total, mut tilt) = (s.zero(), s.zero());
        for (i, score) in vectors(s, scores).into_iter().enumerate() {
            let difference = s.sub(score, reference);
            let weight = s.exp_below_zero(difference);
            total = s.add(total, weight);
            if self.entropy {
                tilt = s.fma(weight, s.max(difference, s.splat(f32::MIN)), tilt);
            }
            // SAFETY: the scores are a block of `BLOCK`.
            unsafe { s.store(scores, i * LANES, weight) };
        }
        // SAFETY: the state has `LANES` sums per line.
        unsafe {
            let sum = s.load(&self.sum, line * LANES);
            if self.entropy {
                let shifted = s.fma(s.splat(moved), sum, s.load(&self.tilt, line * LANES));
                s.store(&mut self.tilt, line * LANES, s.fma(shifted, shrink, tilt));
            }
            s.store(&mut self.sum, line * LANES, s.fma(sum, shrink, total));
        }
    }

    /// Adds `weights · values` to the outputs of the lines from `line` on, after shrinking what they hold.
    ///
    /// `weights` is `[rows, BLOCK]`, of which the columns `columns` count; `values` are those of equal parts of the block.
    #[inline(always)]
    pub fn add<S: Simd, V: Columns, const PARTS: usize>(
        &mut self,
        s: S,
        line: usize,
        shrink: &[f32],
        weights: &[f32],
        values: [V; PARTS],
        columns: Range<usize>,
    ) {
        let width = self.vectors * LANES;
        let acc = &mut self.acc[line * width..];
        let mut start = Start::Scale(shrink);
        for (values, slots) in values.into_iter().zip((0..BLOCK).step_by(BLOCK / PARTS)) {
            let columns = columns.start.max(slots)..columns.end.min(slots + BLOCK / PARTS);
            if !columns.is_empty() {
                let size = Size { rows: shrink.len(), vectors: self.vectors, steps: columns.len() };
                let a = Factors { data: &weights[columns.start..], row_stride: BLOCK, step_stride: 1 };
                let values = Skip { columns: values, steps: columns.start - slots };
                multiply(s, size, a, values, start, acc, width);
                start = Start::Keep;
            }
        }
    }

    /// Writes the states as records.
    pub fn record(&self, records: &mut [f32]) {
        let width = self.vectors * LANES;
        for (line, record) in records.chunks_exact_mut(RECORD_HEADER + width).enumerate() {
            record[MAXIMUM] = self.maximum[line];
            record[SUM] = sum_lanes(&self.sum[line * LANES..]);
            record[TILT] = if self.entropy { sum_lanes(&self.tilt[line * LANES..]) } else { 0.0 };
            record[RECORD_HEADER..].copy_from_slice(&self.acc[line * width..][..width]);
        }
    }
}

/// The columns without their first steps.
#[derive(Clone, Copy)]
struct Skip<C> {
    columns: C,
    steps: usize,
}

impl<C: Columns> Columns for Skip<C> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, step: usize, vector: usize) -> S::F {
        // SAFETY: the caller keeps to vectors that exist.
        unsafe { self.columns.load(s, self.steps + step, vector) }
    }

    #[inline(always)]
    fn ahead(self, step: usize, vector: usize, count: usize) {
        self.columns.ahead(self.steps + step, vector, count);
    }
}

/// The sum of sixteen lanes, as a fixed tree.
fn sum_lanes(lanes: &[f32]) -> f32 {
    let mut sums = [0.0; LANES / 2];
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = lanes[i] + lanes[i + LANES / 2];
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

/// The vectors of a block.
#[inline(always)]
fn vectors<S: Simd>(s: S, block: &[f32]) -> [S::F; BLOCK / LANES] {
    let mut vectors = [s.zero(); BLOCK / LANES];
    for (i, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: a block has `BLOCK` elements.
        *vector = unsafe { s.load(block, i * LANES) };
    }
    vectors
}

/// Sets a vector's length and all its elements without giving memory back.
pub(super) fn refill(data: &mut Vec<f32>, length: usize, value: f32) {
    data.clear();
    data.resize(length, value);
}

/// Sets a vector's length without giving memory back; what its elements are is unspecified.
pub(super) fn fit(data: &mut Vec<f32>, length: usize) {
    if data.capacity() < length {
        *data = vec![0.0; length];
    }
    data.resize(length, 0.0);
}

/// Elements of a record before its accumulated output.
pub(super) const RECORD_HEADER: usize = LANES;
const MAXIMUM: usize = 0;
const SUM: usize = 1;
const TILT: usize = 2;

/// Makes a record empty, or one that has seen only a sink logit.
pub(super) fn empty_record(record: &mut [f32], sink_logit: f32) {
    record.fill(0.0);
    record[MAXIMUM] = sink_logit;
    record[SUM] = if sink_logit == f32::NEG_INFINITY { 0.0 } else { 1.0 };
}

/// Merges the state `part` into `total`.
#[inline(always)]
fn fold<S: Simd>(s: S, total: &mut [f32], part: &[f32]) {
    let (old, new) = (total[MAXIMUM], part[MAXIMUM]);
    if new == f32::NEG_INFINITY {
        return;
    }
    let maximum = if new > old { new } else { old };
    let weight = |m: f32| s.exp_below_zero(s.splat(m - maximum));
    let (kept, added) = (weight(old), weight(new));
    let moved = |m: f32| if m == f32::NEG_INFINITY { 0.0 } else { m - maximum };
    let (kept_factor, added_factor) = (s.to_array(kept)[0], s.to_array(added)[0]);
    total[TILT] =
        (total[TILT] + moved(old) * total[SUM]) * kept_factor + (part[TILT] + moved(new) * part[SUM]) * added_factor;
    total[SUM] = total[SUM] * kept_factor + part[SUM] * added_factor;
    total[MAXIMUM] = maximum;
    for at in (RECORD_HEADER..total.len()).step_by(LANES) {
        // SAFETY: records are whole vectors long and of equal length.
        unsafe {
            let value = s.fma(s.load(part, at), added, s.mul(s.load(total, at), kept));
            s.store(total, at, value);
        }
    }
}

/// Merges the states `parts` into `totals`, records of `width`.
pub(super) fn merge_records(totals: &mut [f32], parts: &[f32], width: usize) {
    dispatch(MergeRecords { totals, parts, width });
}

struct MergeRecords<'a> {
    totals: &'a mut [f32],
    parts: &'a [f32],
    width: usize,
}

impl Kernel for MergeRecords<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (total, part) in self.totals.chunks_exact_mut(self.width).zip(self.parts.chunks_exact(self.width)) {
            fold(s, total, part);
        }
    }
}

/// Writes the outputs of final states, records of `width`: that of record `i` to `row(i)`.
pub(super) fn finish<'a>(records: &[f32], width: usize, row: impl Fn(usize) -> &'a mut [f32]) {
    dispatch(Finish { records, width, row });
}

struct Finish<'a, R> {
    records: &'a [f32],
    width: usize,
    row: R,
}

impl<'a, R: Fn(usize) -> &'a mut [f32]> Kernel for Finish<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, record) in self.records.chunks_exact(self.width).enumerate() {
            let out = (self.row)(i);
            let sum = record[SUM];
            if sum == 0.0 {
                out.fill(0.0);
                continue;
            }
            for at in (0..out.len()).step_by(LANES) {
                s.write(out, at, s.div(s.read(record, RECORD_HEADER + at, 0.0), s.splat(sum)));
            }
        }
    }
}

/// `ln Σ e^s` of a final state; −∞ if it saw nothing.
pub(super) fn log_sum_exp(record: &[f32]) -> f32 {
    if record[SUM] == 0.0 { f32::NEG_INFINITY } else { record[MAXIMUM] + record[SUM].ln() }
}

/// `-Σ p ln p` of a final state, the sink logit counted as a key; 0 if it saw nothing.
pub(super) fn entropy(record: &[f32]) -> f32 {
    if record[SUM] == 0.0 { 0.0 } else { record[SUM].ln() - record[TILT] / record[SUM] }
}

/// Joins attention over two disjoint sets of keys: `o = Σ o_i e^{lse_i - lse}`, written over `output` and `lse`.
pub fn merge(output: &mut [f32], lse: &mut f32, other: &[f32], other_lse: f32) {
    if other_lse == f32::NEG_INFINITY {
        return;
    }
    let maximum = lse.max(other_lse);
    let (kept, added) = ((*lse - maximum).exp(), (other_lse - maximum).exp());
    let total = kept + added;
    for (value, &other) in output.iter_mut().zip(other) {
        *value = (*value * kept + other * added) / total;
    }
    *lse = maximum + total.ln();
}

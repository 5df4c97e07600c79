//! The loss: blocks of logits pass by the running softmax of each row.

use std::cell::RefCell;
use std::ops::Range;

use super::running::{Add, Finish, Record, Running};
use super::{CutCrossEntropy, Settings};
use crate::aligned::Aligned;
use crate::disjoint::Disjoint;
use crate::gemm::{Packed, Plus, Target, block, scratch_numbers};
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{LANES, Level, dispatch_at};

/// Rows whose embeddings are copied together; the columns of a block of logits.
pub(super) const ROWS: usize = 256;
/// Classes of a block of logits.
const CLASSES: usize = 256;
/// Classes worth a part of the vocabulary, whose results are merged with those of the others.
const SPLIT: usize = 512;
/// Parts to cut into, if there is enough for them.
const PARTS: usize = 32;

/// What the forward pass leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The loss of each row, 0 for those that do not count.
    pub losses: Vec<f32>,
    /// `ln Σ e^A` of each row, 0 for those that do not count.
    pub log_sum_exp: Vec<f32>,
    /// The classes by ascending mean logit, if asked for.
    pub order: Option<Vec<u32>>,
}

impl CutCrossEntropy<'_> {
    /// The losses.
    ///
    /// If `sorted`, classes are ordered by their mean logit for the backward pass, so that those of any weight share few blocks;
    /// not for the transpose of a weight, whose columns lie apart.
    ///
    /// # Panics
    /// If the sizes do not fit each other or a target is no class.
    pub fn forward(&self, sorted: bool) -> Forward {
        self.forward_at(Level::current(), sorted)
    }

    pub(super) fn forward_at(&self, level: Level, sorted: bool) -> Forward {
        self.check();
        let _span = profile::span("cross-entropy").work(|| Work { flops: self.flops(1), bytes: 0.0 });
        let (rows, count, vocabulary) = (self.targets.rows(), self.targets.count(), self.classifier.rows());
        let cut = Cut::new(count, vocabulary);
        let sorted = sorted && count > 0 && !self.classifier.is_transposed();
        let mut records = vec![Record::default(); cut.splits * count];
        let mut target_logits = vec![0.0; count];
        let mut sums = vec![0.0; if sorted { cut.row_parts * vocabulary } else { 0 }];
        let out = Out {
            records: Disjoint::new(&mut records),
            target_logits: Disjoint::new(&mut target_logits),
            sums: sorted.then(|| Disjoint::new(&mut sums)),
        };
        parallel::parts(cut.row_parts * cut.splits, |part| self.part(level, &cut, part, &out));
        let mut found = Forward { losses: vec![0.0; rows], log_sum_exp: vec![0.0; rows], order: None };
        for (index, target_logit) in target_logits.into_iter().enumerate() {
            let whole = records[index..].iter().step_by(count).copied().reduce(Record::merge).unwrap_or_default();
            let (row, log_sum_exp) = (self.targets.row(index), whole.maximum + whole.sum.ln());
            found.losses[row] = self.settings.loss(log_sum_exp, target_logit, whole.total / vocabulary as f32);
            found.log_sum_exp[row] = log_sum_exp;
        }
        if sorted {
            found.order = Some(ascending(sums, vocabulary));
        }
        found
    }

    /// Some rows and some of the vocabulary.
    fn part(&self, level: Level, cut: &Cut, part: usize, out: &Out<'_>) {
        let (row_part, split) = (part / cut.splits, part % cut.splits);
        let (embeddings, dim) = (self.counted(), self.embeddings.columns());
        let classes = cut.classes(split);
        for first in cut.rows(row_part).step_by(ROWS) {
            let rows = first..(first + ROWS).min(cut.rows(row_part).end);
            let mut running = Running::new();
            SCRATCH.with_borrow_mut(|Scratch { logits, embeddings: copy }| {
                let right = Packed::new(level, embeddings.block(rows.clone(), 0..dim).transpose(), copy);
                for class in classes.clone().step_by(CLASSES) {
                    let classes = class..(class + CLASSES).min(classes.end);
                    let block = Block { rows: rows.clone(), classes, row_part };
                    self.block(level, right, block, logits, &mut running, out);
                }
            });
            let at = split * embeddings.rows() + rows.start;
            // SAFETY: the records of these rows for this split are this part's.
            let records = unsafe { out.records.range(at, rows.len()) };
            records.iter_mut().enumerate().for_each(|(lane, record)| *record = running.record(lane));
        }
    }

    /// One block of logits.
    fn block(
        &self,
        level: Level,
        right: Packed<'_>,
        at: Block,
        logits: &mut Aligned<f32>,
        running: &mut Running,
        out: &Out<'_>,
    ) {
        let Block { rows, classes, row_part } = at;
        let logits = logits.resized(CLASSES * ROWS);
        let left = self.classifier.block(classes.clone(), 0..self.classifier.columns());
        let values = Disjoint::new(logits);
        // SAFETY: the block has at most `CLASSES` rows of at most `ROWS`, all of them this thread's.
        unsafe {
            block(
                level,
                left,
                right.into(),
                Plus::Nothing,
                Target { values: &values, first: 0, stride: ROWS, rows: None },
            )
        };
        let bias = self.bias.map(|bias| &bias[classes.clone()]);
        let sums = out.sums.as_ref().map(|sums| {
            // SAFETY: a part owns the sums of its classes over its rows.
            unsafe { sums.range(row_part * self.classifier.rows() + classes.start, classes.len()) }
        });
        let logits = &mut logits[..classes.len() * ROWS];
        dispatch_at(level, Finish { logits, rows: rows.len(), bias, softcap: self.settings.softcap, sums });
        for (lane, row) in rows.clone().enumerate() {
            let class = self.targets.classes()[row] as usize;
            if classes.contains(&class) {
                // SAFETY: the logit of a row's target is in one block.
                let target_logit = unsafe { out.target_logits.range(row, 1) };
                target_logit[0] = logits[(class - classes.start) * ROWS + lane];
            }
        }
        let totals = self.settings.label_smoothing != 0.0;
        dispatch_at(level, Add { logits, rows: rows.len(), running, totals });
    }
}

impl Settings {
    /// The loss of a row.
    fn loss(&self, log_sum_exp: f32, target_logit: f32, mean_logit: f32) -> f32 {
        let smoothing = self.label_smoothing;
        let mut loss = log_sum_exp - target_logit;
        if smoothing != 0.0 {
            loss += smoothing * (target_logit - mean_logit);
        }
        if self.z_loss != 0.0 {
            loss += self.z_loss * log_sum_exp * log_sum_exp;
        }
        loss
    }
}

thread_local! {
    /// Kept, because fresh memory costs more than to write it.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { logits: Aligned::new(), embeddings: Aligned::new() }) };
}

/// What a worker works on.
struct Scratch {
    /// A block of logits `[class][row]`.
    logits: Aligned<f32>,
    /// The embeddings of its rows.
    embeddings: Aligned<f32>,
}

/// Numbers that the forward pass holds beside its result.
pub(super) fn numbers(rows: usize, dim: usize, vocabulary: usize, threads: usize) -> usize {
    let cut = Cut::new(rows, vocabulary);
    let records = cut.splits * rows * size_of::<Record>() / size_of::<f32>();
    let worker = CLASSES * ROWS + dim * ROWS + scratch_numbers(CLASSES, dim, 0);
    records + cut.row_parts * vocabulary + threads * worker
}

/// Parts of the rows times parts of the vocabulary.
struct Cut {
    count: usize,
    vocabulary: usize,
    row_parts: usize,
    splits: usize,
}

impl Cut {
    fn new(count: usize, vocabulary: usize) -> Self {
        let splits = (vocabulary / SPLIT).clamp(1, PARTS);
        Self { count, vocabulary, row_parts: (PARTS / splits).min(count.div_ceil(ROWS)).max(1), splits }
    }

    fn rows(&self, part: usize) -> Range<usize> {
        piece(self.count, self.row_parts, ROWS, part)
    }

    fn classes(&self, split: usize) -> Range<usize> {
        piece(self.vocabulary, self.splits, LANES, split)
    }
}

/// Piece `index` of `length` in at most `pieces` of a multiple of `unit`; may be empty.
fn piece(length: usize, pieces: usize, unit: usize, index: usize) -> Range<usize> {
    let each = length.div_ceil(pieces).next_multiple_of(unit);
    (index * each).min(length)..((index + 1) * each).min(length)
}

/// The rows and classes of a block of logits.
struct Block {
    rows: Range<usize>,
    classes: Range<usize>,
    row_part: usize,
}

/// What parts write.
struct Out<'a> {
    /// `[split][row]`
    records: Disjoint<'a, Record>,
    target_logits: Disjoint<'a, f32>,
    /// Sums of the logits of each class, `[part of the rows][class]`.
    sums: Option<Disjoint<'a, f32>>,
}

/// The classes by ascending sums, of which there is a list for each part of the rows.
fn ascending(mut sums: Vec<f32>, vocabulary: usize) -> Vec<u32> {
    let (totals, others) = sums.split_at_mut(vocabulary);
    for part in others.chunks_exact(vocabulary) {
        totals.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    let mut order: Vec<u32> = (0..u32::try_from(vocabulary).expect("at most 2^32 classes")).collect();
    order.sort_by(|&a, &b| totals[a as usize].total_cmp(&totals[b as usize]));
    order
}

//! All blocks of the backward pass: their logits again, the gradients of these, and what they add to those of the inputs.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::gradient::{Block, BlockGradient, RowFactors};
use super::{CutCrossEntropy, Filter};
use crate::aligned::Aligned;
use crate::disjoint::Disjoint;
use crate::gemm::{Matrix, Packed, Plus, Target, block, scratch_numbers};
use crate::parallel;
use crate::simd::{LANES, Level, dispatch_at};

/// Rows of a block.
pub(super) const ROWS: usize = 128;
/// Classes of a block.
pub(super) const CLASSES: usize = 128;
/// Places from one class of a block to the next; not a power of two, whose places would share few sets of the cache.
pub(super) const STRIDE: usize = ROWS + 16;
/// At most so many groups of blocks along each side.
const GROUPS: usize = 16;

thread_local! {
    /// Kept, because fresh memory costs more than to write it.
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            gradient: Aligned::new(),
            gathered: Gathered { gradient: Aligned::new(), classes: Vec::new() },
            columns: Aligned::new(),
            rows: Aligned::new(),
        })
    };
}

/// What a worker works on.
struct Scratch {
    /// A block of gradients of logits `[class][row]`.
    gradient: Aligned<f32>,
    gathered: Gathered,
    /// The embeddings of a block of rows, for products with their transpose.
    columns: Aligned<f32>,
    /// The same for products with themselves.
    rows: Aligned<f32>,
}

/// Classes of several blocks that matter to one block of rows, until they fill a block of their own.
struct Gathered {
    /// `[class][row]`
    gradient: Aligned<f32>,
    classes: Vec<u32>,
}

/// A block of classes with the gradients of its logits.
struct ClassBlock<'a> {
    /// `[class][row]`, with as many rows as the block of rows.
    gradient: Matrix<'a>,
    classifier: Matrix<'a>,
    /// The classes, if they do not follow each other,
    listed: Option<&'a [u32]>,
    /// and the first one, if they do.
    first: usize,
}

/// A block of rows.
struct RowBlock<'a> {
    rows: Range<usize>,
    embeddings: Matrix<'a>,
    /// The transpose of the embeddings.
    columns: Packed<'a>,
    /// The embeddings; not needed where the classifier is transposed.
    packed: Option<Packed<'a>>,
}

/// Numbers that the backward pass holds for its threads and rows.
pub(super) fn numbers(rows: usize, dim: usize, threads: usize) -> usize {
    let scratch = scratch_numbers(CLASSES, dim, 0).max(scratch_numbers(ROWS, CLASSES, dim));
    RowFactors::NUMBERS * rows + threads * (2 * CLASSES * (STRIDE + 1) + 2 * ROWS * dim.next_multiple_of(64) + scratch)
}

/// What all blocks share.
pub(super) struct Pass<'a> {
    pub problem: &'a CutCrossEntropy<'a>,
    pub level: Level,
    pub filter: Filter,
    pub rows: RowFactors,
    pub order: Option<&'a [u32]>,
    pub places: Option<Vec<u32>>,
    pub embeddings: Option<Disjoint<'a, f32>>,
    pub classifier: Option<Disjoint<'a, f32>>,
    pub bias: Option<Disjoint<'a, f32>>,
    pub skipped: AtomicUsize,
}

impl Pass<'_> {
    /// Runs all blocks of rows with all blocks of classes.
    ///
    /// Both are dealt out to groups. In every round each group of the shorter side meets another one of the longer side, so no two
    /// parts of a round write the same gradients, and each gradient sums its blocks in one order, however many threads there are.
    pub fn run(&self, blocks: [usize; 2]) {
        let groups = blocks.map(|blocks| blocks.min(GROUPS));
        for round in 0..groups[0].max(groups[1]) {
            parallel::parts(groups[0].min(groups[1]), |part| {
                let met = (part + round) % groups[0].max(groups[1]);
                let (row_group, class_group) = if groups[0] <= groups[1] { (part, met) } else { (met, part) };
                SCRATCH.with_borrow_mut(|Scratch { gradient, gathered, columns, rows: packed }| {
                    for row_block in (row_group..blocks[0]).step_by(groups[0]) {
                        let rows = piece(row_block, ROWS, self.problem.targets.count());
                        let embeddings =
                            self.problem.counted().block(rows.clone(), 0..self.problem.embeddings.columns());
                        let columns = Packed::new(self.level, embeddings.transpose(), columns);
                        let packed = (!self.problem.classifier.is_transposed())
                            .then(|| Packed::new(self.level, embeddings, packed));
                        let block = RowBlock { rows, embeddings, columns, packed };
                        for class_block in (class_group..blocks[1]).step_by(groups[1]) {
                            let classes = piece(class_block, CLASSES, self.problem.classifier.rows());
                            self.block(&block, classes, gradient, gathered);
                        }
                        self.flush(&block, gathered);
                    }
                });
            });
        }
    }

    /// Whether classes are filtered one by one. Columns of a transposed classifier lie apart and are not gathered.
    pub fn gathers(&self) -> bool {
        matches!(self.filter, Filter::Classes(_)) && !self.problem.classifier.is_transposed()
    }

    /// Adds what a block of rows and a block of classes give each other.
    fn block(&self, of_rows: &RowBlock<'_>, classes: Range<usize>, logits: &mut Aligned<f32>, gathered: &mut Gathered) {
        let (rows, dim) = (of_rows.rows.len(), self.problem.embeddings.columns());
        let listed = self.order.map_or(self.problem.classifier, |order| self.problem.classifier.listed(order));
        let classifier = listed.block(classes.clone(), 0..dim);
        let logits = logits.resized(CLASSES * STRIDE);
        if !rows.is_multiple_of(LANES) {
            logits.fill(0.0);
        }
        let to = Disjoint::new(logits);
        let target = Target { values: &to, first: 0, stride: STRIDE, rows: None };
        // SAFETY: the block has at most `CLASSES` rows of at most `ROWS`, all of them this thread's.
        unsafe { block(self.level, classifier, of_rows.columns.into(), Plus::Nothing, target) };
        let logits = &mut logits[..classes.len() * STRIDE];
        let largest = self.gradient(&of_rows.rows, &classes, logits);
        let largest = &largest[..classes.len()];
        if self.gathers() {
            self.gather(of_rows, &classes, logits, largest, gathered);
            return;
        }

        let negligible = largest.iter().all(|&largest| largest < self.filter.epsilon());
        if negligible {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
        let of_classes = ClassBlock {
            gradient: Matrix::new(logits, classes.len(), STRIDE).block(0..classes.len(), 0..rows),
            classifier,
            listed: self.order.map(|order| &order[classes.clone()]),
            first: classes.start,
        };
        if !negligible {
            self.add_to_embeddings(of_rows, &of_classes);
        }
        if !negligible || matches!(self.filter, Filter::Embeddings(_)) {
            self.add_to_classifier(of_rows, &of_classes);
        }
    }

    /// Takes the classes that matter out of a block.
    fn gather(
        &self,
        of_rows: &RowBlock<'_>,
        classes: &Range<usize>,
        gradient: &[f32],
        largest: &[f32],
        gathered: &mut Gathered,
    ) {
        let mut skipped = 0;
        for ((place, gradient), &largest) in classes.clone().zip(gradient.chunks_exact(STRIDE)).zip(largest) {
            if largest < self.filter.epsilon() {
                skipped += 1;
                continue;
            }
            let at = gathered.classes.len() * STRIDE;
            gathered.gradient.resized(CLASSES * STRIDE)[at..][..STRIDE].copy_from_slice(gradient);
            gathered.classes.push(self.class(place) as u32);
            if gathered.classes.len() == CLASSES {
                self.flush(of_rows, gathered);
            }
        }
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Adds what a block of rows and the classes gathered for it give each other.
    fn flush(&self, of_rows: &RowBlock<'_>, gathered: &mut Gathered) {
        let Gathered { gradient, classes } = gathered;
        if !classes.is_empty() {
            let gradient = Matrix::new(&gradient.values()[..classes.len() * STRIDE], classes.len(), STRIDE);
            let of_classes = ClassBlock {
                gradient: gradient.block(0..classes.len(), 0..of_rows.rows.len()),
                classifier: self.problem.classifier.listed(classes),
                listed: Some(classes),
                first: 0,
            };
            self.add_to_embeddings(of_rows, &of_classes);
            self.add_to_classifier(of_rows, &of_classes);
            classes.clear();
        }
    }

    /// `dE += G C`
    fn add_to_embeddings(&self, of_rows: &RowBlock<'_>, of_classes: &ClassBlock<'_>) {
        let Some(to) = &self.embeddings else { return };
        let listed = self.problem.targets.listed().map(|rows| &rows[of_rows.rows.clone()]);
        let target = target(to, self.problem.embeddings.columns(), listed, of_rows.rows.start);
        let ClassBlock { gradient, classifier, .. } = *of_classes;
        // SAFETY: no other part of this round has these rows.
        unsafe { block(self.level, gradient.transpose(), classifier.into(), Plus::Existing, target) };
    }

    /// `dC += Gᵀ E`, and the same for the bias.
    fn add_to_classifier(&self, of_rows: &RowBlock<'_>, of_classes: &ClassBlock<'_>) {
        let ClassBlock { gradient, listed, first, .. } = *of_classes;
        if let Some(to) = &self.classifier {
            let of_class_rows = target(to, self.problem.embeddings.columns(), listed, first);
            let of_class_columns = Target { first, stride: self.problem.classifier.rows(), ..of_class_rows };
            let (left, right) = (of_rows.embeddings.transpose(), gradient.transpose());
            // SAFETY: no other part of this round has these classes.
            unsafe {
                match of_rows.packed {
                    Some(packed) => block(self.level, gradient, packed.into(), Plus::Existing, of_class_rows),
                    None => block(self.level, left, right.into(), Plus::Existing, of_class_columns),
                }
            }
        }
        if let Some(to) = &self.bias {
            for index in 0..gradient.rows() {
                let class = listed.map_or(first + index, |listed| listed[index] as usize);
                let sum: f32 = gradient.row(index).iter().sum();
                // SAFETY: as above.
                unsafe { to.range(class, 1)[0] += sum };
            }
        }
    }

    /// Turns products into gradients of logits; returns for each class how far a row's probability is from its target at most.
    fn gradient(&self, rows: &Range<usize>, classes: &Range<usize>, logits: &mut [f32]) -> [f32; CLASSES] {
        let bias = |place: usize| self.problem.bias.map_or(0.0, |bias| bias[self.class(place)]);
        let mut biases = [0.0; CLASSES];
        biases.iter_mut().zip(classes.clone()).for_each(|(value, place)| *value = bias(place));
        let mut targets = [None; ROWS];
        for (target, row) in targets.iter_mut().zip(rows.clone()) {
            let class = self.problem.targets.classes()[row];
            let place = self.places.as_ref().map_or(class, |places| places[class as usize]) as usize;
            *target = classes.contains(&place).then(|| place - classes.start);
        }
        let block = Block { logits, biases: &biases, targets: &targets[..rows.len()], first: rows.start };
        let mut largest = [0.0; CLASSES];
        dispatch_at(self.level, BlockGradient { block, rows: &self.rows, largest: &mut largest });
        largest
    }

    /// The class at a place of the order.
    fn class(&self, place: usize) -> usize {
        self.order.map_or(place, |order| order[place] as usize)
    }
}

/// Rows of a matrix: those of a list, or those from the first on.
fn target<'a, 'c>(
    values: &'a Disjoint<'c, f32>,
    width: usize,
    listed: Option<&'a [u32]>,
    first: usize,
) -> Target<'a, 'c> {
    let first = if listed.is_some() { 0 } else { first * width };
    Target { values, first, stride: width, rows: listed }
}

/// Piece `index` of `length` cut into pieces of `size`.
fn piece(index: usize, size: usize, length: usize) -> Range<usize> {
    index * size..((index + 1) * size).min(length)
}

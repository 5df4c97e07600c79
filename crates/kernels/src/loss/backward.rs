//! The gradients: blocks of logits again, turned into their own gradients and multiplied with embeddings and classifier.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::gradient::{Block, BlockGradient, RowFactors};
use super::{CutCrossEntropy, Filter, Forward};
use crate::aligned::Aligned;
use crate::disjoint::Disjoint;
use crate::gemm::{Matrix, Packed, Plus, Target, block, scratch_numbers};
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Level, dispatch_at};

/// Rows of a block.
pub(super) const ROWS: usize = 128;
/// Classes of a block.
const CLASSES: usize = 128;
/// Places from one class of a block to the next; not a power of two, whose places would share few sets of the cache.
pub(super) const STRIDE: usize = ROWS + 16;
/// At most so many groups of blocks along each side.
const GROUPS: usize = 16;

/// Gradients that reach the results of the forward pass, for each row; rows that do not count are not read.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Of the losses.
    pub losses: Option<&'a [f32]>,
    /// Of `lse`.
    pub log_sum_exp: Option<&'a [f32]>,
}

/// Where the gradients that are wanted go; all elements are written.
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    /// As the embeddings.
    pub embeddings: Option<&'a mut [f32]>,
    /// In the order of the classifier's elements in memory.
    pub classifier: Option<&'a mut [f32]>,
    /// As the bias.
    pub bias: Option<&'a mut [f32]>,
}

/// How many blocks there were and how many of them were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Blocks of 128 rows and 128 classes.
    pub blocks: usize,
    /// Those without a product.
    pub skipped: usize,
}

impl CutCrossEntropy<'_> {
    /// Writes the gradients from what [`forward`](Self::forward) left.
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn backward(&self, forward: &Forward, upstream: Upstream<'_>, filter: Filter, to: Gradients<'_>) -> Skipped {
        self.backward_at(Level::current(), forward, upstream, filter, to)
    }

    pub(super) fn backward_at(
        &self,
        level: Level,
        forward: &Forward,
        upstream: Upstream<'_>,
        filter: Filter,
        to: Gradients<'_>,
    ) -> Skipped {
        self.check();
        self.check_gradients(&to);
        let products = 1 + usize::from(to.embeddings.is_some()) + usize::from(to.classifier.is_some());
        let _span = profile::span("cross-entropy, backward").work(|| Work { flops: self.flops(products), bytes: 0.0 });
        let Gradients { mut embeddings, mut classifier, mut bias } = to;
        for gradient in [&mut embeddings, &mut classifier, &mut bias].into_iter().flatten() {
            parallel::pieces(gradient, 1 << 16, |_, piece| piece.fill(0.0));
        }
        let vocabulary = self.classifier.rows();
        let pass = Pass {
            problem: self,
            level,
            filter,
            rows: RowFactors::new(self, forward, upstream),
            order: forward.order.as_deref(),
            places: forward.order.as_deref().map(places),
            embeddings: embeddings.map(Disjoint::new),
            classifier: classifier.map(Disjoint::new),
            bias: bias.map(Disjoint::new),
            skipped: AtomicUsize::new(0),
        };
        let blocks = [self.targets.count().div_ceil(ROWS), vocabulary.div_ceil(CLASSES)];
        pass.run(blocks);
        Skipped { blocks: blocks[0] * blocks[1], skipped: pass.skipped.into_inner() }
    }

    fn check_gradients(&self, to: &Gradients<'_>) {
        let [rows, dim, vocabulary] = [self.embeddings.rows(), self.embeddings.columns(), self.classifier.rows()];
        let fits = |gradient: &Option<&mut [f32]>, length| gradient.as_ref().is_none_or(|g| g.len() == length);
        assert!(fits(&to.embeddings, rows * dim), "a gradient for the embeddings [{rows}, {dim}]");
        assert!(fits(&to.classifier, vocabulary * dim), "a gradient for the classifier [{vocabulary}, {dim}]");
        assert!(fits(&to.bias, vocabulary), "a gradient for the bias of {vocabulary} classes");
    }
}

/// Where in the order each class is.
fn places(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &class) in (0..).zip(order) {
        places[class as usize] = place;
    }
    places
}

thread_local! {
    /// Kept, because fresh memory costs more than to write it.
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { gradient: Aligned::new(), columns: Aligned::new(), rows: Aligned::new() })
    };
}

/// What a worker works on.
struct Scratch {
    /// A block of gradients of logits `[class][row]`.
    gradient: Aligned<f32>,
    /// The embeddings of a block of rows, for products with their transpose.
    columns: Aligned<f32>,
    /// The same for products with themselves.
    rows: Aligned<f32>,
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
    RowFactors::NUMBERS * rows + threads * (CLASSES * STRIDE + 2 * ROWS * dim.next_multiple_of(64) + scratch)
}

/// What all blocks share.
struct Pass<'a> {
    problem: &'a CutCrossEntropy<'a>,
    level: Level,
    filter: Filter,
    rows: RowFactors,
    order: Option<&'a [u32]>,
    places: Option<Vec<u32>>,
    embeddings: Option<Disjoint<'a, f32>>,
    classifier: Option<Disjoint<'a, f32>>,
    bias: Option<Disjoint<'a, f32>>,
    skipped: AtomicUsize,
}

impl Pass<'_> {
    /// Runs all blocks of rows with all blocks of classes.
    ///
    /// Both are dealt out to groups. In every round each group of the shorter side meets another one of the longer side, so no two
    /// parts of a round write the same gradients, and each gradient sums its blocks in one order, however many threads there are.
    fn run(&self, blocks: [usize; 2]) {
        let groups = blocks.map(|blocks| blocks.min(GROUPS));
        for round in 0..groups[0].max(groups[1]) {
            parallel::parts(groups[0].min(groups[1]), |part| {
                let met = (part + round) % groups[0].max(groups[1]);
                let (row_group, class_group) = if groups[0] <= groups[1] { (part, met) } else { (met, part) };
                SCRATCH.with_borrow_mut(|Scratch { gradient, columns, rows: packed }| {
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
                            self.block(&block, classes, gradient);
                        }
                    }
                });
            });
        }
    }

    /// Adds what a block of rows and a block of classes give each other.
    fn block(&self, of_rows: &RowBlock<'_>, classes: Range<usize>, logits: &mut Aligned<f32>) {
        let (rows, dim) = (of_rows.rows.clone(), self.problem.embeddings.columns());
        let listed = self.order.map_or(self.problem.classifier, |order| self.problem.classifier.listed(order));
        let classifier = listed.block(classes.clone(), 0..dim);

        let logits = logits.resized(CLASSES * STRIDE);
        if !rows.len().is_multiple_of(16) {
            logits.fill(0.0);
        }
        let to = Disjoint::new(logits);
        let target = Target { values: &to, first: 0, stride: STRIDE, rows: None };
        // SAFETY: the block has at most `CLASSES` rows of at most `ROWS`, all of them this thread's.
        unsafe { block(self.level, classifier, of_rows.columns.into(), Plus::Nothing, target) };
        let largest = self.gradient(&rows, &classes, &mut logits[..classes.len() * STRIDE]);
        let negligible = largest < self.filter.epsilon();
        if negligible {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }

        let gradient = Matrix::new(&logits[..classes.len() * STRIDE], classes.len(), STRIDE);
        let gradient = gradient.block(0..classes.len(), 0..rows.len());
        if let Some(to) = self.embeddings.as_ref().filter(|_| !negligible) {
            let target = self.embedding_rows(to, &rows);
            // SAFETY: no other part of this round has these rows.
            unsafe { block(self.level, gradient.transpose(), classifier.into(), Plus::Existing, target) };
        }
        if negligible && !matches!(self.filter, Filter::Embeddings(_)) {
            return;
        }
        if let Some(to) = &self.classifier {
            let (first, stride) = (classes.start, self.problem.classifier.rows());
            // SAFETY: no other part of this round has these classes.
            unsafe {
                match of_rows.packed {
                    Some(embeddings) => {
                        block(self.level, gradient, embeddings.into(), Plus::Existing, self.class_rows(to, &classes));
                    }
                    None => {
                        let (left, right) = (of_rows.embeddings.transpose(), gradient.transpose().into());
                        block(
                            self.level,
                            left,
                            right,
                            Plus::Existing,
                            Target { values: to, first, stride, rows: None },
                        );
                    }
                }
            }
        }
        if let Some(to) = &self.bias {
            for (gradient, place) in logits.chunks_exact(STRIDE).zip(classes) {
                let sum: f32 = gradient[..rows.len()].iter().sum();
                // SAFETY: as above.
                unsafe { to.range(self.class(place), 1)[0] += sum };
            }
        }
    }

    /// Turns products into gradients of logits; returns how far the probability furthest from its target is from it.
    fn gradient(&self, rows: &Range<usize>, classes: &Range<usize>, logits: &mut [f32]) -> f32 {
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
        dispatch_at(self.level, BlockGradient { block, rows: &self.rows })
    }

    /// The class at a place of the order.
    fn class(&self, place: usize) -> usize {
        self.order.map_or(place, |order| order[place] as usize)
    }

    /// The gradients of the embeddings of some counted rows.
    fn embedding_rows<'a, 'c>(&'a self, values: &'a Disjoint<'c, f32>, rows: &Range<usize>) -> Target<'a, 'c> {
        target(values, self.problem.embeddings.columns(), self.problem.targets.listed(), rows)
    }

    /// The gradients of some classes.
    fn class_rows<'a, 'c>(&'a self, values: &'a Disjoint<'c, f32>, classes: &Range<usize>) -> Target<'a, 'c> {
        target(values, self.problem.embeddings.columns(), self.order, classes)
    }
}

/// Rows of a matrix, all or those of a list.
fn target<'a, 'c>(
    values: &'a Disjoint<'c, f32>,
    width: usize,
    listed: Option<&'a [u32]>,
    rows: &Range<usize>,
) -> Target<'a, 'c> {
    let first = if listed.is_some() { 0 } else { rows.start * width };
    Target { values, first, stride: width, rows: listed.map(|listed| &listed[rows.clone()]) }
}

/// Piece `index` of `length` cut into pieces of `size`.
fn piece(index: usize, size: usize, length: usize) -> Range<usize> {
    index * size..((index + 1) * size).min(length)
}

//! The gradients: blocks of logits again, turned into their own gradients and multiplied with embeddings and classifier.

use std::sync::atomic::AtomicUsize;

use super::gradient::RowFactors;
use super::pass::{CLASSES, Pass, ROWS};
use super::{CutCrossEntropy, Filter, Forward};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::Level;

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
    /// Blocks of 128 rows and 128 classes; of 128 rows and a single class where the filter gathers classes.
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
        let of_classes = if pass.gathers() { vocabulary } else { blocks[1] };
        Skipped { blocks: blocks[0] * of_classes, skipped: pass.skipped.into_inner() }
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

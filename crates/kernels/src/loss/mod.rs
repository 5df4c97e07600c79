//! Cut cross-entropy: the loss of a classifier over a large vocabulary, without its logits in memory.
//!
//! With embeddings `E` `[rows, dim]`, a classifier `C` `[vocabulary, dim]` and a target `t` for each row, the logits are
//! `A = E Cᵀ + bias`, with a soft cap `A = s · tanh((E Cᵀ + bias) / s)`. The loss of a row is
//!
//! `lse - (1 - ε) A_t - ε · mean A + z · lse²`, `lse = ln Σ_v e^{A_v}`,
//!
//! with label smoothing `ε` and z-loss `z`. [`forward`](CutCrossEntropy::forward) computes the logits block by block and keeps
//! `lse`; [`backward`](CutCrossEntropy::backward) computes them again, and with `G = dA` (`p - onehot` for the plain loss) adds up
//! `dE = G C` and `dC = Gᵀ E`. Blocks in which no probability is further than an `ε` from its target may be left out
//! ([`Filter`]). Wijmans et al. 2024, arXiv:2411.09009.
//!
//! Of Kahan's compensated sums, which the paper offers for gradients in `bf16`, there is no form here: gradients are `f32`, and
//! each of their elements is one chain of fused multiply-adds, whose error is already that of an ordinary matrix product.
//!
//! Blocks are cut by the sizes alone and added in a fixed order, so results do not depend on the number of threads.

mod backward;
mod forward;
mod gradient;
mod memory;
mod pass;
mod running;
mod targets;

use crate::gemm::Matrix;

pub use backward::{Gradients, Skipped, Upstream};
pub use forward::Forward;
pub use memory::{bytes_cut, bytes_naive};
pub use targets::{IGNORED, Targets};

/// What changes the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// The magnitude that logits approach but do not exceed.
    pub softcap: Option<f32>,
    /// The share of each target that is spread evenly over the vocabulary.
    pub label_smoothing: f32,
    /// The weight of the squared `lse`.
    pub z_loss: f32,
}

/// Which blocks the backward pass leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Filter {
    /// None.
    #[default]
    Exact,
    /// Those in which all probabilities are closer than epsilon to their targets.
    Both(f32),
    /// Single classes whose probabilities are closer than epsilon to their targets in all of 128 rows; those that remain are gathered
    /// into blocks, so no order is needed. As [`Both`](Self::Both) for the transpose of a weight, whose columns lie apart.
    Classes(f32),
    /// As `Both` for the gradient of the embeddings; that of the classifier is whole, so that rare words are still pushed down.
    Embeddings(f32),
}

impl Filter {
    /// The paper's epsilon, below which a gradient vanishes in `bf16`.
    pub const EPSILON: f32 = 1.0 / 4096.0;

    /// The epsilon; 0 leaves out nothing.
    pub fn epsilon(self) -> f32 {
        match self {
            Self::Exact => 0.0,
            Self::Both(epsilon) | Self::Classes(epsilon) | Self::Embeddings(epsilon) => epsilon,
        }
    }
}

/// Rows, a classifier and the targets of the rows.
#[derive(Clone, Copy, Debug)]
pub struct CutCrossEntropy<'a> {
    /// `[rows, dim]`, row by row in memory.
    pub embeddings: Matrix<'a>,
    /// `[vocabulary, dim]`: a table of embeddings as it lies, or the transpose of a linear layer's weight.
    pub classifier: Matrix<'a>,
    /// A value added to the logits of each class.
    pub bias: Option<&'a [f32]>,
    /// A class for each row, or none.
    pub targets: &'a Targets,
    /// What changes the loss.
    pub settings: Settings,
}

impl CutCrossEntropy<'_> {
    /// Asserts that the sizes fit each other.
    fn check(&self) {
        let [rows, dim, vocabulary] = [self.embeddings.rows(), self.embeddings.columns(), self.classifier.rows()];
        assert!(!self.embeddings.is_transposed(), "embeddings lie in memory row by row");
        assert_eq!(self.classifier.columns(), dim, "the classifier [{vocabulary}, _] takes embeddings of {dim}");
        assert_eq!(self.targets.rows(), rows, "a target for each of {rows} rows");
        assert!(self.bias.is_none_or(|bias| bias.len() == vocabulary), "a bias for each of {vocabulary} classes");
        assert!(dim > 0 || rows == 0, "embeddings of no values");
        if let Some(&class) = self.targets.classes().iter().max() {
            assert!((class as usize) < vocabulary, "target {class} of a vocabulary of {vocabulary}");
        }
    }

    /// The embeddings of the rows that have a target.
    fn counted(&self) -> Matrix<'_> {
        self.targets.listed().map_or(self.embeddings, |rows| self.embeddings.listed(rows))
    }

    /// Work of products over all counted rows and the whole vocabulary.
    fn flops(&self, products: usize) -> f64 {
        let size = self.targets.count() as f64 * self.classifier.rows() as f64 * self.classifier.columns() as f64;
        2.0 * products as f64 * size
    }
}

#[cfg(test)]
mod tests;

//! What a model learns: a batch of documents becomes what the model sees and what it should have said.
//!
//! The phases are apart, so that a corruption can be tested without a model and one model can learn several objectives.
//! [`Objective::corrupt`] is pure: the same batch and the same draws give the same view and target.

mod masked;
mod next_token;
mod span_corruption;
mod spec;
mod token_loss;

pub use masked::MaskedSpec;
pub use next_token::NextTokenSpec;
pub use span_corruption::SpanCorruptionSpec;
pub use spec::{ObjectiveSpec, TokenObjective};

use burn::tensor::Tensor;
use headwise_nn::mixer::Segment;

use crate::draws::Draws;

/// A way to make a task of raw data.
pub trait Objective {
    /// Raw data.
    type Batch;
    /// What the model sees.
    type View;
    /// What the loss needs; the model never sees it.
    type Target;
    /// What the loss needs of the model.
    type Out;

    /// Name in specs and rows.
    fn name(&self) -> &'static str;

    /// Hides and asks.
    fn corrupt(&self, batch: &Self::Batch, draws: &mut Draws) -> (Self::View, Self::Target);

    /// How wrong the model is.
    fn loss(&self, out: Self::Out, target: &Self::Target) -> LossReport;
}

/// A text to learn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What should be said after each of them.
    pub answers: Vec<u32>,
    /// How much each answer matters; 0 not at all.
    pub weights: Vec<f32>,
}

impl Document {
    /// Running text: after each token comes the next, and all matter the same.
    pub fn text(tokens: &[u32]) -> Self {
        Self::weighted(tokens, &vec![1.0; tokens.len()])
    }

    /// Running text whose tokens matter as much as `weights` says; the first is not predicted.
    pub fn weighted(tokens: &[u32], weights: &[f32]) -> Self {
        let shown = tokens.len().saturating_sub(1);
        let from = tokens.len() - shown;
        Self { ids: tokens[..shown].to_vec(), answers: tokens[from..].to_vec(), weights: weights[from..].to_vec() }
    }
}

/// Packed texts as a language model sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenView {
    /// The tokens of all texts, one after the other.
    pub ids: Vec<u32>,
    /// The place of every token in its text.
    pub positions: Vec<i32>,
    /// Which tokens belong to which text.
    pub segments: Vec<Segment>,
}

impl TokenView {
    /// Adds all texts of another view.
    pub fn append(&mut self, other: &Self) {
        other.segments.iter().for_each(|segment| self.push(&other.ids[segment.rows.clone()]));
    }

    /// Adds a text.
    pub fn push(&mut self, ids: &[u32]) {
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend(0..ids.len() as i32);
        self.segments.push(Segment { sequence: self.segments.len(), rows: start..self.ids.len() });
    }
}

/// Tokens that should have been said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenTarget {
    /// After which tokens of the view.
    pub rows: Vec<usize>,
    /// The right tokens.
    pub ids: Vec<u32>,
    /// How much each matters.
    pub weights: Vec<f32>,
}

impl TokenTarget {
    /// Adds the token that should have been said after `row`.
    pub fn push(&mut self, row: usize, id: u32, weight: f32) {
        self.rows.push(row);
        self.ids.push(id);
        self.weights.push(weight);
    }

    /// Adds the targets of a view that is appended to one of `rows` tokens.
    pub fn append(&mut self, rows: usize, other: &Self) {
        self.rows.extend(other.rows.iter().map(|row| rows + row));
        self.ids.extend(&other.ids);
        self.weights.extend(&other.weights);
    }

    /// The sum of the weights.
    pub fn count(&self) -> f64 {
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }
}

/// What a language model says: vectors for every token of the view, and what turns them into scores.
#[derive(Debug)]
pub struct TokenOut {
    /// `[tokens, dim]`
    pub hidden: Tensor<2>,
    /// `[vocabulary, dim]`
    pub classifier: Tensor<2>,
    /// What is added to the mean loss so that the experts of mixtures are equally busy.
    pub balance: Option<Tensor<1>>,
}

/// How wrong a model is.
#[derive(Debug)]
pub struct LossReport {
    /// The weighted sum of the losses, to be differentiated. Divide by the count of the whole step, not of its parts.
    pub sum: Tensor<1>,
    /// The sum of the weights.
    pub count: f64,
}

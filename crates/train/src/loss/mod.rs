//! Losses, as specs name them.

mod cut_cross_entropy;

use burn::tensor::Tensor;
use headwise_ops::{CrossEntropy, Targets};

pub use cut_cross_entropy::{CutCrossEntropy, GradientFilter};

headwise_spec::family! {
    /// What a model's predictions of tokens cost.
    pub enum Loss: "loss" {
        cut_cross_entropy => CutCrossEntropy,
    }
}

impl Default for Loss {
    fn default() -> Self {
        CutCrossEntropy::default().into()
    }
}

impl Loss {
    /// Refuses parameters that mean nothing.
    pub fn check(&self) -> Result<(), LossError> {
        match self {
            Self::CutCrossEntropy(loss) => loss.check(),
        }
    }

    /// The loss of `embeddings` `[rows, dim]` under `classifier` `[vocabulary, dim]` and `bias` `[vocabulary]`.
    ///
    /// For a linear layer's weight `[dim, vocabulary]` give its transposed view.
    pub fn forward(
        &self,
        embeddings: Tensor<2>,
        classifier: Tensor<2>,
        bias: Option<Tensor<1>>,
        targets: &Targets,
    ) -> CrossEntropy {
        match self {
            Self::CutCrossEntropy(loss) => loss.forward(embeddings, classifier, bias, targets),
        }
    }
}

/// A parameter of a loss that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{parameter}` of a loss is {value}; it must be {valid}")]
pub struct LossError {
    parameter: &'static str,
    value: f64,
    valid: &'static str,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::Loss>();
    }
}

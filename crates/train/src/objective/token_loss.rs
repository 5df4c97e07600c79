//! The loss of language models: what the right tokens cost, each by its weight.

use burn::tensor::{Tensor, TensorData};
use headwise_kernels::loss::{IGNORED, Targets};

use super::{LossReport, TokenOut, TokenTarget};
use crate::loss::Loss;

/// The weighted sum of the losses of all targets.
pub(super) fn token_loss(out: TokenOut, target: &TokenTarget, loss: &Loss) -> LossReport {
    let ([rows, _], device) = (out.hidden.dims(), out.hidden.device());
    let (mut classes, mut weights) = (vec![IGNORED; rows], vec![0.0; rows]);
    for ((&row, &id), &weight) in target.rows.iter().zip(&target.ids).zip(&target.weights) {
        classes[row] = i32::try_from(id).expect("a token of a vocabulary");
        weights[row] = weight;
    }
    let found = loss.forward(out.hidden, out.classifier, None, &Targets::new(&classes));
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [rows]), &device);
    let (sum, count) = ((found.losses * weights).sum(), target.count());
    // A sum of losses grows with their number, so what is added to their mean does too.
    let sum = out.balance.map_or(sum.clone(), |balance| sum + balance * count);
    LossReport { sum, count }
}

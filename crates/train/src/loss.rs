//! Temporary: replaced by the fused kernel.
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

use crate::objective::{LossReport, TokenOut, TokenTarget};

/// Cross-entropy.
pub fn cross_entropy(out: TokenOut, target: &TokenTarget) -> LossReport {
    let device = out.hidden.device();
    let n = target.rows.len();
    let ints = |v: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(v, [n]), &device);
    let x = out.hidden.select(0, ints(target.rows.iter().map(|&r| r as i64).collect()));
    let logits = headwise_ops::linear(x, out.classifier, None);
    let ids = ints(target.ids.iter().map(|&r| i64::from(r)).collect());
    let guess: Vec<i64> = logits.clone().inner().argmax(1).into_data().convert::<i64>().try_into_vec().unwrap();
    let right = guess
        .iter()
        .zip(&target.ids)
        .zip(&target.weights)
        .filter(|((g, i), _)| **g == i64::from(**i))
        .map(|(_, &w)| f64::from(w))
        .sum();
    let logp = log_softmax(logits, 1).gather(1, ids.unsqueeze_dim(1));
    let w = Tensor::<1>::from_data(TensorData::new(target.weights.clone(), [n]), &device);
    let sum = -(logp.squeeze_dim::<1>(1) * w).sum();
    LossReport { sum, count: target.count(), right }
}

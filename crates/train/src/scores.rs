//! How well a model predicts the targets of one view.

use burn::tensor::{Device, Int, Tensor, TensorData};
use headwise_models::decoder::Decoder;
use headwise_ops::host::Host;

use crate::model::Trainable;
use crate::objective::{TokenTarget, TokenView};

/// Rows whose scores are in memory at a time.
const ROWS: usize = 256;

/// Sums over the targets, by their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Negative log-likelihood, in nats.
    pub nats: f64,
    /// Targets whose token was the likeliest.
    pub right: f64,
}

/// The scores of `model` on a view.
pub fn measure(model: &Decoder, view: &TokenView, target: &TokenTarget, device: &Device) -> Scores {
    let out = model.look(view, device);
    let classifier = out.classifier.transpose();
    let mut scores = Scores::default();
    let targets: Vec<(usize, u32, f32)> = target
        .rows
        .iter()
        .zip(&target.ids)
        .zip(&target.weights)
        .map(|((&row, &id), &weight)| (row, id, weight))
        .collect();
    for targets in targets.chunks(ROWS) {
        let rows: Vec<i64> = targets.iter().map(|&(row, ..)| row as i64).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [targets.len()]), device);
        let logits = headwise_ops::linear(out.hidden.clone().select(0, rows), classifier.clone(), None);
        let width = logits.dims()[1];
        let logits = Host::new(logits);
        for (row, &(_, id, weight)) in logits.as_slice().chunks_exact(width).zip(targets) {
            let of_target = row[id as usize];
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
            scores.nats += f64::from(weight) * (sum.ln() + f64::from(largest) - f64::from(of_target));
            scores.right += if of_target >= largest { f64::from(weight) } else { 0.0 };
        }
    }
    scores
}

//! What the last tokens of a text attend to, as one row of weights for each.

use crate::probe::{Looking, Probe};
use crate::{Engine, EngineError};

impl Engine {
    /// The attention of each of the last `rows` tokens of `ids` to every token up to itself: the mean over the heads of the last layer that
    /// attends to the whole text. Each row has a sum of one.
    pub fn attention_rows(&self, ids: &[u32], rows: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        self.check_text(0, ids)?;
        let last = self.last_whole_layer()?;
        let mut found = Vec::new();
        let mut probe = Probe(|looking: &Looking<'_>| {
            if looking.layer == last {
                found = (ids.len().saturating_sub(rows)..ids.len()).map(|row| mean(looking, row)).collect();
            }
        });
        self.observe(ids, &mut probe, |_| {});
        Ok(found)
    }
}

/// The mean over all heads of what row `row` attends to.
fn mean(looking: &Looking<'_>, row: usize) -> Vec<f32> {
    let mut mean = vec![0.0; row + 1];
    for group in looking.weights(row) {
        for weights in group.chunks_exact(row + 1) {
            mean.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += weight / looking.shape.heads as f32);
        }
    }
    mean
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::decoder::{Induction, Weights};

    use super::*;

    #[test]
    fn a_model_that_copies_attends_to_what_it_copies() {
        let engine = Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 1).unwrap();
        let ids: Vec<u32> = [Induction::START, 40, 41, 42, 43, 44, 45, 46, 40, 41, 42].into();
        let rows = engine.attention_rows(&ids, 2).unwrap();
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [10, 11]);
        for (row, source) in rows.iter().zip([3, 4]) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
            let most = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(most, source, "the token after the same one before: {row:?}");
        }
        assert_eq!(engine.attention_rows(&ids, 99).unwrap().len(), ids.len());
    }
}

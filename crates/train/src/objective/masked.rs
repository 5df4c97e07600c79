//! Masked language modelling: some tokens are hidden, and the model says them from both sides.
//!
//! Of the tokens chosen 80 % become the mask token, 10 % a random one and 10 % stay. Devlin et al. 2019, arXiv:1810.04805.

use rand::RngExt;

use super::token_loss::token_loss;
use super::{Document, LossReport, Objective, TokenOut, TokenTarget, TokenView};
use crate::draws::Draws;
use crate::loss::Loss;

headwise_spec::method! {
    /// Some tokens are hidden, and the model says them from both sides. For models that are not causal.
    ///
    /// Devlin et al. 2019, arXiv:1810.04805.
    pub struct MaskedSpec {
        /// Share of the tokens that are asked for.
        pub share: f64 = 0.15,
        /// The token that stands for a hidden one.
        pub mask: u32 = 256,
        /// Random tokens are drawn from below this.
        pub vocabulary: u32 = 256,
    }
}

/// See [`MaskedSpec`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masked {
    /// What is hidden.
    pub spec: MaskedSpec,
    /// How the loss is computed.
    pub loss: Loss,
}

impl Objective for Masked {
    type Batch = Vec<Document>;
    type View = TokenView;
    type Target = TokenTarget;
    type Out = TokenOut;

    fn name(&self) -> &'static str {
        "masked"
    }

    fn corrupt(&self, batch: &Vec<Document>, draws: &mut Draws) -> (TokenView, TokenTarget) {
        let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
        for document in batch.iter().filter(|document| !document.ids.is_empty()) {
            let start = view.ids.len();
            let mut shown = document.ids.clone();
            for (place, id) in shown.iter_mut().enumerate() {
                if !draws.random_bool(self.spec.share) {
                    continue;
                }
                target.rows.push(start + place);
                target.ids.push(*id);
                target.weights.push(1.0);
                match draws.random_range(0..10) {
                    0 => {}
                    1 => *id = draws.random_range(0..self.spec.vocabulary),
                    _ => *id = self.spec.mask,
                }
            }
            view.push(&shown);
        }
        (view, target)
    }

    fn loss(&self, out: TokenOut, target: &TokenTarget) -> LossReport {
        token_loss(out, target, &self.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::{Purpose, draws};

    #[test]
    fn hides_as_much_as_it_says() {
        let ids: Vec<u32> = (0..40_000).map(|i| i % 250).collect();
        let batch = vec![Document { answers: ids.clone(), weights: vec![1.0; ids.len()], ids: ids.clone() }];
        let corrupt = |step| Masked::default().corrupt(&batch, &mut draws(3, Purpose::Corruption, step, 0));
        let (view, target) = corrupt(0);
        assert_eq!(corrupt(0), (view.clone(), target.clone()));
        assert_ne!(corrupt(1).0, view);
        let share = |count: usize, of: usize| count as f64 / of as f64;
        assert!((share(target.rows.len(), ids.len()) - 0.15).abs() < 0.006);
        let masked = view.ids.iter().filter(|&&id| id == 256).count();
        assert!((share(masked, target.rows.len()) - 0.8).abs() < 0.02);
        let changed: Vec<usize> = (0..ids.len()).filter(|&row| view.ids[row] != ids[row]).collect();
        assert!(changed.iter().all(|row| target.rows.contains(row)));
        assert!(target.rows.iter().zip(&target.ids).all(|(&row, &id)| ids[row] == id));
    }
}

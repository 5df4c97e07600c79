//! Masked language modelling: some tokens are hidden, and the model says them from both sides.
//!
//! Of the tokens chosen 80 % become the mask token, 10 % a random one and 10 % stay. Devlin et al. 2019, arXiv:1810.04805.

use rand::RngExt;

use super::{Document, TokenTarget, TokenView};
use crate::draws::Draws;

headwise_spec::method! {
    /// Some tokens are hidden, and the model says them from both sides. For models that are not causal.
    ///
    /// Devlin et al. 2019, arXiv:1810.04805.
    pub struct MaskedSpec {
        /// Share of the tokens that are asked for.
        pub share: f64 = 0.15,
        /// The token that stands for a hidden one; none is that of the tokenizer, or one more than texts have.
        pub mask: Option<u32> = None,
        /// Random tokens are drawn from below this; none takes all that texts have.
        pub vocabulary: Option<u32> = None,
    }
}

impl MaskedSpec {
    /// The same with tokens for texts whose ids are below `vocabulary`, of which `mask` may stand for a hidden one.
    pub(super) fn resolved(&self, vocabulary: usize, mask: Option<u32>) -> Self {
        let vocabulary = u32::try_from(vocabulary).unwrap_or(u32::MAX);
        let mask = self.mask.or(mask).unwrap_or(vocabulary);
        Self { mask: Some(mask), vocabulary: Some(self.vocabulary.unwrap_or(vocabulary)), ..self.clone() }
    }

    /// Adds what is shown of a text, and what is asked about it.
    pub(super) fn ask(&self, document: &Document, draws: &mut Draws, view: &mut TokenView, target: &mut TokenTarget) {
        let (Some(mask), Some(vocabulary)) = (self.mask, self.vocabulary) else {
            panic!("an objective is built after `mask` and `vocabulary` are resolved");
        };
        let start = view.ids.len();
        let mut shown = document.ids.clone();
        for (place, id) in shown.iter_mut().enumerate() {
            if !draws.random_bool(self.share) {
                continue;
            }
            target.push(start + place, *id, 1.0);
            match draws.random_range(0..10) {
                0 => {}
                1 => *id = draws.random_range(0..vocabulary),
                _ => *id = mask,
            }
        }
        view.push(&shown);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Objective, ObjectiveSpec};
    use super::*;
    use crate::draws::{Purpose, draws};
    use crate::loss::Loss;

    #[test]
    fn hides_as_much_as_it_says() {
        let ids: Vec<u32> = (0..40_000).map(|i| i % 250).collect();
        let batch = vec![Document { answers: ids.clone(), weights: vec![1.0; ids.len()], ids: ids.clone() }];
        let objective = ObjectiveSpec::from(MaskedSpec::default()).resolved(256, None).build(Loss::default());
        let corrupt = |step| objective.corrupt(&batch, &mut draws(3, Purpose::Corruption, step, 0));
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

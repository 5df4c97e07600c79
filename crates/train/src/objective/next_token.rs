//! Next-token prediction: every token from those before it.

use super::{Document, TokenTarget, TokenView};

headwise_spec::method! {
    /// Every token from those before it.
    pub struct NextTokenSpec {}
}

impl NextTokenSpec {
    /// Adds what is shown of a text, and what is asked about it.
    pub(super) fn ask(&self, document: &Document, view: &mut TokenView, target: &mut TokenTarget) {
        let start = view.ids.len();
        for (place, (&answer, &weight)) in document.answers.iter().zip(&document.weights).enumerate() {
            if weight > 0.0 {
                target.push(start + place, answer, weight);
            }
        }
        view.push(&document.ids);
    }
}

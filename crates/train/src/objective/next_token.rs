//! Next-token prediction: every token from those before it.

use super::token_loss::token_loss;
use super::{Document, LossReport, Objective, TokenOut, TokenTarget, TokenView};
use crate::draws::Draws;
use crate::loss::Loss;

headwise_spec::method! {
    /// Every token from those before it.
    pub struct NextTokenSpec {}
}

/// See [`NextTokenSpec`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NextToken {
    /// How the loss is computed.
    pub loss: Loss,
}

impl Objective for NextToken {
    type Batch = Vec<Document>;
    type View = TokenView;
    type Target = TokenTarget;
    type Out = TokenOut;

    fn name(&self) -> &'static str {
        "next_token"
    }

    fn corrupt(&self, batch: &Vec<Document>, _: &mut Draws) -> (TokenView, TokenTarget) {
        let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
        for document in batch {
            let start = view.ids.len();
            for (place, (&answer, &weight)) in document.answers.iter().zip(&document.weights).enumerate() {
                if weight > 0.0 {
                    target.rows.push(start + place);
                    target.ids.push(answer);
                    target.weights.push(weight);
                }
            }
            if !document.ids.is_empty() {
                view.push(&document.ids);
            }
        }
        (view, target)
    }

    fn loss(&self, out: TokenOut, target: &TokenTarget) -> LossReport {
        token_loss(out, target, &self.loss)
    }
}

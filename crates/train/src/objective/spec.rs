//! Objectives of language models, as specs name them.

use super::token_loss::token_loss;
use super::{
    Document, LossReport, MaskedSpec, NextTokenSpec, Objective, SpanCorruptionSpec, TokenOut, TokenTarget, TokenView,
};
use crate::draws::Draws;
use crate::loss::Loss;
use headwise_models::decoder::{ModelFamily, Sentinels};
use headwise_spec::Family;

headwise_spec::family! {
    /// What a language model learns to say.
    pub enum ObjectiveSpec: "objective" {
        next_token => NextTokenSpec,
        masked => MaskedSpec,
        span_corruption => SpanCorruptionSpec,
    }
}

/// An objective of language models: what is asked, and what a wrong answer costs.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenObjective {
    asked: ObjectiveSpec,
    loss: Loss,
}

impl Objective for TokenObjective {
    type Batch = Vec<Document>;
    type View = TokenView;
    type Target = TokenTarget;
    type Out = TokenOut;

    fn name(&self) -> &'static str {
        self.asked.name()
    }

    fn corrupt(&self, batch: &Vec<Document>, draws: &mut Draws) -> (TokenView, TokenTarget) {
        let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
        for document in batch.iter().filter(|document| !document.ids.is_empty()) {
            match &self.asked {
                ObjectiveSpec::NextTokenSpec(spec) => spec.ask(document, &mut view, &mut target),
                ObjectiveSpec::MaskedSpec(spec) => spec.ask(document, draws, &mut view, &mut target),
                ObjectiveSpec::SpanCorruptionSpec(spec) => spec.ask(document, draws, &mut view, &mut target),
            }
        }
        (view, target)
    }

    fn loss(&self, out: TokenOut, target: &TokenTarget) -> LossReport {
        token_loss(out, target, &self.loss)
    }
}

impl Default for ObjectiveSpec {
    fn default() -> Self {
        NextTokenSpec {}.into()
    }
}

impl ObjectiveSpec {
    /// The same with what it leaves to the texts: their tokens are below `vocabulary`, and `mask` stands for one that is hidden.
    pub fn resolved(&self, vocabulary: usize, mask: Option<u32>) -> Self {
        match self {
            Self::MaskedSpec(spec) => spec.resolved(vocabulary, mask).into(),
            Self::SpanCorruptionSpec(spec) => spec.resolved(vocabulary).into(),
            other => other.clone(),
        }
    }

    /// The objective, [resolved](Self::resolved), whose predictions cost what `loss` says.
    pub fn build(&self, loss: Loss) -> TokenObjective {
        TokenObjective { asked: self.clone(), loss }
    }

    /// Most tokens that a model sees of a text of `length`.
    pub fn longest(&self, length: usize) -> usize {
        match self {
            Self::NextTokenSpec(_) | Self::MaskedSpec(_) => length,
            // Every run brings its sentinel twice, and between two runs there is a token; the answer's end is not seen.
            Self::SpanCorruptionSpec(spec) => length + 2 * length.div_ceil(2).min(spec.sentinels as usize) + 1,
        }
    }

    /// Whether a model of `family` can learn it; else what is wrong.
    pub fn check_family(&self, family: ModelFamily) -> Result<(), String> {
        match (self, family) {
            (Self::MaskedSpec(_), ModelFamily::Decoder) => {
                Err("`masked` asks for tokens between those that are shown, so the model must see both \
                sides: set `model.family` to \"encoder\" and `causal = false` in its layers; a decoder learns `next_token` or \
                `span_corruption`"
                    .into())
            }
            (Self::NextTokenSpec(_) | Self::SpanCorruptionSpec(_), ModelFamily::Encoder) => Err(format!(
                "`{}` asks for the token after each, which an encoder sees: take `masked`, or a decoder",
                self.name()
            )),
            _ => Ok(()),
        }
    }

    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let share = |share: f64| match share > 0.0 && share < 1.0 {
            true => Ok(()),
            false => Err(format!("share={share}: it must be above 0 and below 1")),
        };
        match self {
            Self::NextTokenSpec(_) => Ok(()),
            Self::MaskedSpec(MaskedSpec { vocabulary: Some(0), .. }) => {
                Err("vocabulary=0: it must be at least 1".into())
            }
            Self::MaskedSpec(spec) => share(spec.share),
            Self::SpanCorruptionSpec(SpanCorruptionSpec { sentinels: 0, .. }) => {
                Err("sentinels=0: it must be at least 1".into())
            }
            Self::SpanCorruptionSpec(SpanCorruptionSpec { length, .. }) if !(length.is_finite() && *length >= 1.0) => {
                Err(format!("length={length}: it must be a finite number of at least 1"))
            }
            Self::SpanCorruptionSpec(spec) => share(spec.share),
        }
    }

    /// The tokens that a model must know for it: all that it brings are below.
    pub fn vocabulary(&self) -> usize {
        self.brought().map(|(_, last)| last as usize + 1).max().unwrap_or(0)
    }

    /// The tokens with which a model that has learned it, once [`resolved`](Self::resolved), fills gaps; none if it fills none.
    pub fn sentinels(&self) -> Option<Sentinels> {
        match self {
            Self::SpanCorruptionSpec(spec) => spec.brought(),
            Self::NextTokenSpec(_) | Self::MaskedSpec(_) => None,
        }
    }

    /// The greatest tokens that it brings, and what they are.
    fn brought(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let brought = match self {
            Self::NextTokenSpec(_) => [None, None],
            Self::MaskedSpec(spec) => {
                let random = spec.vocabulary.map(|count| u64::from(count).saturating_sub(1));
                [spec.mask.map(|mask| ("mask", mask.into())), random.map(|id| ("the last random token", id))]
            }
            Self::SpanCorruptionSpec(spec) => {
                let last = |first: u32| (u64::from(first) + u64::from(spec.sentinels)).saturating_sub(1);
                [spec.end.map(|end| ("end", end.into())), spec.sentinel.map(|first| ("the last sentinel", last(first)))]
            }
        };
        brought.into_iter().flatten()
    }

    /// Whether a model of so many tokens knows all that the objective brings; else which it does not.
    pub fn check_vocabulary(&self, vocabulary: usize) -> Result<(), String> {
        match self.brought().find(|&(_, id)| id >= vocabulary as u64) {
            None => Ok(()),
            Some((name, id)) => Err(format!(
                "{name} is token {id}, the model has a vocabulary of {vocabulary}: set `model.vocabulary` to at least {}",
                id + 1
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::{Purpose, draws};

    fn read(text: &str) -> ObjectiveSpec {
        headwise_spec::from_text(text).unwrap_or_else(|error| panic!("{error:#}"))
    }

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<ObjectiveSpec>();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, part) in [
            ("masked(share=0)", "share=0"),
            ("masked(vocabulary=0)", "vocabulary=0"),
            ("span_corruption(share=1)", "share=1"),
            ("span_corruption(length=0.5)", "length=0.5"),
            ("span_corruption(sentinels=0)", "sentinels=0"),
        ] {
            let error = read(text).check().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let masked = read("masked").resolved(256, None);
        assert!(masked.check_vocabulary(256).unwrap_err().contains("mask is token 256"));
        assert_eq!((masked.vocabulary(), masked.check_vocabulary(257)), (257, Ok(())));
        assert_eq!(read("masked").resolved(300, Some(7)).vocabulary(), 300);
        let spans = read("span_corruption").resolved(256, None);
        let error = spans.check_vocabulary(288).unwrap_err();
        assert!(error.contains("last sentinel is token 288") && error.contains("at least 289"), "{error}");
        assert_eq!((spans.vocabulary(), spans.check_vocabulary(289)), (289, Ok(())));
        let spans = read("span_corruption(end=7, sentinels=2)").resolved(300, None);
        assert_eq!(spans.sentinels(), Some(Sentinels { first: 300, count: 2, end: 7 }));
        assert_eq!(read("masked").resolved(256, None).sentinels(), None);
        for (text, right, wrong) in [
            ("masked", ModelFamily::Encoder, ModelFamily::Decoder),
            ("next_token", ModelFamily::Decoder, ModelFamily::Encoder),
            ("span_corruption", ModelFamily::Decoder, ModelFamily::Encoder),
        ] {
            assert_eq!(read(text).check_family(right), Ok(()));
            assert!(read(text).check_family(wrong).unwrap_err().starts_with(&format!("`{text}` asks for")));
        }
    }

    #[test]
    fn no_text_is_longer_than_the_longest() {
        // Runs as often as can be.
        let spec = read("span_corruption(share=0.5, length=1, sentinels=9)").resolved(21, None);
        let objective = spec.build(Loss::default());
        let mut most = 0;
        for step in 0..200 {
            let batch = vec![Document::text(&(0..21).collect::<Vec<_>>())];
            let (view, _) = objective.corrupt(&batch, &mut draws(5, Purpose::Corruption, step, 0));
            most = most.max(view.ids.len());
        }
        assert!(most > 30 && most <= spec.longest(20), "{most}, {}", spec.longest(20));
    }
}

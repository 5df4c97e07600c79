//! UQAC: the confidence of an answer at the end of a response, from the chain of attention that leads to it.
//!
//! The probability of an answer given the reasoning before it is close to one even where the reasoning was a guess. So the tokens that the
//! answer rests on are found by following attention back ([`chain`]), at most `similar` of them are kept, those whose last hidden states
//! are most like those of the answer, and each is replaced by what could have stood there. For the response itself and for every such
//! variant `v`, `s_v = Π p(chain token)` and `a_v = Π p(answer token)` are read with everything else as it is. The confidence is
//! `Σ_v a_v s_v`; divided by `Σ_v s_v` it is a mean of `a_v`. Variants exclude each other, so that `Σ_v s_v ≤ 1`. Li et al. 2025,
//! arXiv:2503.19168.

mod chain;
mod rows;
mod text;
mod variants;

use std::ops::Range;

use headwise_ops::host::Host;

pub use self::chain::chain;
use self::rows::AttentionRows;
pub use self::text::{answer_span, is_plain};
pub use self::variants::Variant;
use crate::cosine::cosine;
use crate::probe::{Looking, Probe};
use crate::{Engine, EngineError};

/// What of a response is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    /// Most tokens of the chain that are kept.
    pub similar: usize,
    /// Likeliest tokens that may stand in the place of each.
    pub likeliest: usize,
    /// Most variants, beside the response itself.
    pub variants: usize,
    /// Least probability of a token that makes a variant.
    pub least: f64,
}

impl Default for Confidence {
    fn default() -> Self {
        Self { similar: 10, likeliest: 5, variants: 10, least: 0.01 }
    }
}

/// How sure an answer is.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerConfidence {
    /// Tokens of the text that the answer rests on, those that were kept, ascending.
    pub chain: Vec<usize>,
    /// The response itself first, then every variant.
    pub variants: Vec<Variant>,
}

impl AnswerConfidence {
    /// `Σ_v a_v s_v`.
    pub fn raw(&self) -> f64 {
        self.variants.iter().map(|variant| (variant.answer + variant.chain).exp()).sum()
    }

    /// `Σ_v a_v s_v / Σ_v s_v`.
    pub fn norm(&self) -> f64 {
        // Relative to the likeliest variant, because products over many tokens are tiny.
        let most = self.variants.iter().map(|variant| variant.chain).fold(f64::NEG_INFINITY, f64::max);
        let weight = |variant: &Variant| (variant.chain - most).exp();
        let sum: f64 = self.variants.iter().map(|variant| weight(variant) * variant.answer.exp()).sum();
        sum / self.variants.iter().map(weight).sum::<f64>()
    }

    /// Probability of the answer after the response as it is, which is the usual measure.
    pub fn answer(&self) -> f64 {
        self.variants.first().map_or(0.0, |variant| variant.answer.exp())
    }
}

impl Confidence {
    /// How sure the answer at the tokens `answer` of `ids` is; `ids` are a prompt and, from token `prompt` on, the response with the
    /// answer in it. `plain` says which tokens carry no content, such as punctuation.
    pub fn measure(
        &self,
        engine: &Engine,
        ids: &[u32],
        prompt: usize,
        answer: Range<usize>,
        plain: impl Fn(u32) -> bool,
    ) -> Result<AnswerConfidence, EngineError> {
        engine.check_text(0, ids)?;
        engine.check_attends()?;
        if prompt == 0 || answer.start < prompt || answer.is_empty() || answer.end > ids.len() {
            return Err(EngineError::Decoding(format!(
                "tokens {} to {} are no answer in a response from token {prompt} to {}, after a prompt",
                answer.start,
                answer.end,
                ids.len()
            )));
        }
        let mut rows = AttentionRows::new(prompt, ids.len());
        let x = engine.observe(ids, &mut Probe(|looking: &Looking<'_>| rows.add(looking)), |_| {});
        let skipped = |token: usize| token < prompt || plain(ids[token]);
        let chain = chain(&rows.largest(), prompt, answer.clone(), skipped);
        let hidden = Host::new(x);
        let kept = self.most_similar(hidden.as_slice(), engine.spec().dim, &chain, answer.clone());
        let variants = self.variants(engine, ids, &kept, answer)?;
        Ok(AnswerConfidence { chain: kept, variants })
    }

    /// The tokens of `chain` whose sources have states most like those of the answer's, ascending; `hidden` is `[tokens, dim]`.
    fn most_similar(&self, hidden: &[f32], dim: usize, chain: &[usize], answer: Range<usize>) -> Vec<usize> {
        let source = |token: usize| &hidden[(token - 1) * dim..][..dim];
        let similarity = |token: usize| -> f64 {
            let all = answer.clone().map(|answer| cosine(source(token), source(answer)));
            all.sum::<f64>() / answer.len() as f64
        };
        let mut scored: Vec<(usize, f64)> = chain.iter().map(|&token| (token, similarity(token))).collect();
        scored.retain(|(_, similarity)| *similarity >= 0.0);
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut kept: Vec<usize> = scored.into_iter().take(self.similar).map(|(token, _)| token).collect();
        kept.sort_unstable();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_most_like_the_answers_stay() {
        // Tokens 1 to 4 have their states one row before them.
        let hidden = [1.0, 0.0, 0.9, 0.1, -1.0, 0.0, 1.0, 0.2, 0.0, 0.0];
        let kept = |similar| Confidence { similar, ..Confidence::default() }.most_similar(&hidden, 2, &[1, 2, 3], 4..5);
        assert_eq!(kept(9), [1, 2], "the state of token 3 points away");
        assert_eq!(kept(1), [2]);
    }

    #[test]
    fn a_confidence_is_a_mean_over_variants() {
        let variant = |chain: f64, answer: f64| Variant { change: None, chain: chain.ln(), answer: answer.ln() };
        let alone = AnswerConfidence { chain: vec![3], variants: vec![variant(0.4, 0.9)] };
        assert!((alone.raw() - 0.36).abs() < 1e-12 && (alone.norm() - 0.9).abs() < 1e-12);
        let two = AnswerConfidence { chain: vec![3], variants: vec![variant(0.4, 0.9), variant(0.1, 0.2)] };
        assert!((two.raw() - 0.38).abs() < 1e-12 && (two.norm() - 0.76).abs() < 1e-12);
        assert!((two.answer() - 0.9).abs() < 1e-12);
        let tiny =
            AnswerConfidence { chain: vec![], variants: vec![Variant { change: None, chain: -2000.0, answer: 0.0 }] };
        assert_eq!((tiny.raw(), tiny.norm()), (0.0, 1.0));
    }
}

//! Perplexity of a text under a cache policy: `exp` of the mean negative log-likelihood of its tokens.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, EngineError, Sequence, Wanted};

/// A measured perplexity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative log-likelihood.
    pub value: f64,
    /// Tokens that count.
    pub tokens: usize,
    /// Bytes of the cache at the end.
    pub bytes: usize,
}

/// Why no perplexity can be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerplexityError {
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Nothing to predict.
    #[error("a text of {tokens} tokens with a context of {context} leaves nothing to predict: it needs at least {} tokens", context.max(&1) + 1)]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens read before the first one counts.
        context: usize,
    },
    /// A policy that acts on prompts, without one.
    #[error(
        "`{policy}` chooses what is read of a prompt, and with a context of {context} there is none: give the tokens that it is to choose \
         from (--context 1024)"
    )]
    NoPrompt {
        /// The policy.
        policy: String,
        /// Tokens read before the first one counts.
        context: usize,
    },
}

/// Tokens read at a time where the policy allows it.
const CHUNK: usize = 256;

/// Reads `context` tokens of `ids` as a prompt, after which `policy` compresses; the tokens after them count, each
/// predicted with the policy active. `progress` is told how many tokens have been read.
pub fn measure(
    engine: &Engine,
    policy: &CachePolicy,
    ids: &[u32],
    context: usize,
    mut progress: impl FnMut(usize),
) -> Result<Perplexity, PerplexityError> {
    let start = context.max(1);
    if ids.len() <= start {
        return Err(PerplexityError::TooShort { tokens: ids.len(), context });
    }
    if start == 1 && policy.chooses_from_prompts() {
        return Err(PerplexityError::NoPrompt { policy: policy.to_string(), context });
    }
    let mut sequence = engine.sequence(policy)?;
    let logits = engine.prefill(&mut sequence, &ids[..start], &mut progress)?;
    let mut total = nll(logits.last(), ids[start]);
    total += continuation(engine, &mut sequence, &ids[start..], |read| progress(start + read))?.iter().sum::<f64>();
    let tokens = ids.len() - start;
    Ok(Perplexity { value: (total / tokens as f64).exp(), tokens, bytes: sequence.bytes().total() })
}

/// Negative log-likelihoods, in nats, of all of `ids` but the first, which continue the text of `sequence`.
///
/// A policy that evicts does so after every token; without one, rows are read together, which gives the same bits.
pub fn continuation(
    engine: &Engine,
    sequence: &mut Sequence,
    ids: &[u32],
    mut progress: impl FnMut(usize),
) -> Result<Vec<f64>, EngineError> {
    let chunk = if sequence.policy().evicts() { 1 } else { CHUNK };
    let mut nlls = Vec::with_capacity(ids.len());
    for (index, part) in ids[..ids.len() - 1].chunks(chunk).enumerate() {
        let chunk_start = index * chunk;
        let part = Chunk { sequence: &mut *sequence, ids: part, prompt_ends: true, wanted: Wanted::All };
        let logits = engine.forward(&mut [part])?.pop().unwrap_or_default();
        nlls.extend(logits.rows().zip(&ids[chunk_start + 1..]).map(|(logits, &id)| nll(logits, id)));
        progress(nlls.len());
    }
    Ok(nlls)
}

/// Negative log-likelihood of `id` given the scores `logits`, in nats.
pub fn nll(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    sum.ln() - f64::from(logits[id as usize] - most)
}

#[cfg(test)]
mod tests {
    use headwise_models::decoder::Induction;

    use super::*;
    use crate::compare::cache::toy_engine;

    #[test]
    fn a_policy_that_chooses_from_prompts_gets_one() {
        let engine = toy_engine(1).unwrap();
        let ids: Vec<u32> = std::iter::once(Induction::START).chain((1..200).map(|at| 20 + at % 90)).collect();
        let perplexity =
            |policy: &str, context| measure(&engine, &CachePolicy::parse(policy).unwrap(), &ids, context, |_| {});
        for policy in ["gemfilter(budget=40)", "uncomp_stages"] {
            let refused = perplexity(policy, 0).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{policy}`")) && refused.contains("--context"), "{refused}");
        }
        let [full, filtered] = ["full", "gemfilter(budget=40)"].map(|policy| perplexity(policy, 150).unwrap());
        assert_eq!((full.tokens, filtered.tokens), (50, 50));
        assert!(filtered.bytes < full.bytes && filtered.value != full.value, "{full:?} {filtered:?}");
    }

    #[test]
    fn likelihoods_of_known_scores() {
        assert!((nll(&[0.0; 8], 3) - 8f64.ln()).abs() < 1e-12);
        assert!((nll(&[0.0, 3f32.ln()], 1) - (4f64 / 3.0).ln()).abs() < 1e-6);
    }
}

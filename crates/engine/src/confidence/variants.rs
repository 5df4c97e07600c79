//! A response with one token of its chain replaced, and how likely that makes the chain and the answer.

use std::ops::Range;

use super::Confidence;
use crate::cache::CachePolicy;
use crate::decode::{likeliest, log_sum_exp};
use crate::{Chunk, Engine, EngineError, Logits, Sequence, Wanted};

/// A response, as it is or with one token replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// The token that is replaced, and by which; none in the response itself.
    pub change: Option<(usize, u32)>,
    /// Log-probability of the kept tokens of the chain, the replaced one in its new form.
    pub chain: f64,
    /// Log-probability of the answer.
    pub answer: f64,
}

impl Confidence {
    /// The response itself and its variants; `kept` are tokens of its chain, ascending.
    pub(super) fn variants(
        &self,
        engine: &Engine,
        ids: &[u32],
        kept: &[usize],
        answer: Range<usize>,
    ) -> Result<Vec<Variant>, EngineError> {
        let first = kept.first().map_or(answer.start, |&token| token.min(answer.start));
        let mut read = engine.sequence(&CachePolicy::parse("f32")?)?;
        // The scores of token `first` come with the last token before it.
        let mut before = engine.prefill(&mut read, &ids[..first], |_| {})?.values;
        let start = read.clone();
        let logits = read_all(engine, &mut read, &ids[first..])?;
        before.extend(&logits.values);
        let scores = Logits { values: before, vocabulary: logits.vocabulary };
        let original = LogProbabilities { first, scores };
        let sum = |table: &LogProbabilities, ids: &[u32], tokens: &mut dyn Iterator<Item = usize>| -> f64 {
            tokens.map(|token| table.of(token, ids[token])).sum()
        };
        let mut variants = vec![Variant {
            change: None,
            chain: sum(&original, ids, &mut kept.iter().copied()),
            answer: sum(&original, ids, &mut answer.clone()),
        }];
        // What stands before the change is read once, ever further.
        let mut prefix = start;
        for (token, id) in self.changes(&original, ids, kept) {
            if prefix.tokens() < token {
                let rest = &ids[prefix.tokens()..token];
                let nothing = Wanted::Nothing;
                engine.forward(&mut [Chunk {
                    sequence: &mut prefix,
                    ids: rest,
                    prompt_ends: true,
                    wanted: nothing,
                }])?;
            }
            let changed = [&ids[..token], &[id], &ids[token + 1..]].concat();
            let after = LogProbabilities {
                first: token + 1,
                scores: read_all(engine, &mut prefix.clone(), &changed[token..])?,
            };
            let (to, from) = kept.split_at(kept.partition_point(|&kept| kept <= token));
            let chain =
                sum(&original, &changed, &mut to.iter().copied()) + sum(&after, &changed, &mut from.iter().copied());
            let answer = sum(&after, &changed, &mut answer.clone());
            variants.push(Variant { change: Some((token, id)), chain, answer });
        }
        Ok(variants)
    }

    /// The replacements that make variants, in the order of the text: the likeliest of all.
    fn changes(&self, table: &LogProbabilities, ids: &[u32], kept: &[usize]) -> Vec<(usize, u32)> {
        let mut all: Vec<(usize, u32, f64)> = Vec::new();
        for &token in kept {
            let likely = likeliest(table.row(token), self.likeliest);
            all.extend(likely.into_iter().map(|id| (token, id, table.of(token, id).exp())));
        }
        all.retain(|(_, _, probability)| *probability > self.least);
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.truncate(self.variants + kept.len());
        all.retain(|(token, id, _)| ids[*token] != *id);
        all.truncate(self.variants);
        all.sort_by_key(|(token, _, _)| *token);
        all.into_iter().map(|(token, id, _)| (token, id)).collect()
    }
}

/// Scores of the tokens from `first` on.
struct LogProbabilities {
    first: usize,
    scores: Logits,
}

impl LogProbabilities {
    /// The scores that `token` was chosen from.
    fn row(&self, token: usize) -> &[f32] {
        &self.scores.values[(token - self.first) * self.scores.vocabulary..][..self.scores.vocabulary]
    }

    /// Log-probability of `id` in the place of `token`.
    fn of(&self, token: usize, id: u32) -> f64 {
        let row = self.row(token);
        f64::from(row[id as usize]) - log_sum_exp(row)
    }
}

/// Reads `ids` on; the scores after each of them.
fn read_all(engine: &Engine, sequence: &mut Sequence, ids: &[u32]) -> Result<Logits, EngineError> {
    let chunk = Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::All };
    Ok(engine.forward(&mut [chunk])?.pop().unwrap_or_default())
}

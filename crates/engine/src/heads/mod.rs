//! Which heads copy from far back: retrieval heads.
//!
//! The model reads one first token, then `K` different random tokens, again and again. Without the first token in the count
//! (it stays in the softmax), row `i` has met its own token before at `j = i - K, i - 2K, …`. With `p_ij` the weight of row
//! `i` on column `j`, a head's scores are means over the rows `i ≥ K` of
//!
//! - induction: `Σ_j p_{i,j+1}`, what it spends on the tokens that followed: it is about to copy;
//! - echo: `Σ_j p_ij`, what it spends on the same token.
//!
//! A key-value head scores as the best of its query heads. Retrieval heads are the best 14 % by induction together with the
//! best 1 % by echo, as in RazorAttention (Tang et al. 2024, arXiv:2407.15891); that few heads do the retrieval is from Wu
//! et al. 2024, arXiv:2404.15574. Text and tokenizer play no part, so the scores belong to the model alone, and are kept in
//! the cache directory once they are measured. What heads do while the model answers from a text, [`Engine::copying_heads`]
//! tells.
//!
//! The same reading says how well each layer picks tokens for GemFilter ([`picks`]), which takes the layer from here unless one is named, or
//! it is known what layers pick of needles ([`needles`]).

mod copies;
mod entropy;
mod induction;
mod kept;
mod needles;
mod picks;
mod scope;

use std::collections::BTreeMap;

use headwise_models::decoder::DecoderSpec;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::cache::StoreShape;
use crate::probe::{Looking, Probe};
use crate::{Engine, EngineError};
pub use copies::Answered;
use kept::Kept;
pub(crate) use kept::key as key_of_files;
pub(crate) use scope::{Fading, fades};
pub use scope::{Scope, ScopeBound};

/// How often the random tokens are read.
const REPEATS: usize = 4;

/// Most random tokens that are repeated.
const SEGMENT: usize = 256;

/// Share of the key-value heads that are retrieval heads by their induction score.
const BY_INDUCTION: f64 = 0.14;

/// Share of the key-value heads that are retrieval heads by their echo score.
const BY_ECHO: f64 = 0.01;

/// A layer that picks this share of what the best one does picks nearly as well.
const NEARLY: f64 = 0.95;

/// What one query head does on repeated random tokens; see [the module](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadScore {
    /// Layer, from 0.
    pub layer: usize,
    /// Query head, from 0.
    pub head: usize,
    /// The key-value head it reads.
    pub kv_head: usize,
    /// The layer's sliding window.
    pub window: Option<usize>,
    /// Weight on the tokens that followed earlier occurrences, 0–1.
    pub induction: f64,
    /// Weight on earlier occurrences, 0–1.
    pub echo: f64,
    /// How many directions its queries spread over: their truncated matrix entropy, 0–1.
    pub entropy: f64,
}

/// The scores of every query head of a model, by layer and head, and of its layers.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadScores {
    heads: Vec<HeadScore>,
    /// What each layer picks of the tokens asked for, 0–1; none for layers that do not see a whole text.
    picks: Vec<Option<f64>>,
}

impl HeadScores {
    /// Every query head.
    pub fn heads(&self) -> &[HeadScore] {
        &self.heads
    }

    /// Of the tokens that the last rows of repeated random tokens ask for, the share that each layer picks with the queries of these rows
    /// together, 0–1; none for layers that do not see a whole text.
    pub fn picks(&self) -> &[Option<f64>] {
        &self.picks
    }

    /// The mean entropy of the query heads of every key-value head, `[layers][kv_heads]`.
    pub fn entropies(&self) -> Vec<Vec<f64>> {
        let mut layers: Vec<Vec<(f64, usize)>> = Vec::new();
        for head in &self.heads {
            layers.resize_with(layers.len().max(head.layer + 1), Vec::new);
            let heads = &mut layers[head.layer];
            heads.resize(heads.len().max(head.kv_head + 1), (0.0, 0));
            heads[head.kv_head].0 += head.entropy;
            heads[head.kv_head].1 += 1;
        }
        let mean = |&(sum, count): &(f64, usize)| sum / count.max(1) as f64;
        layers.iter().map(|heads| heads.iter().map(mean).collect()).collect()
    }

    /// The retrieval heads: `[layer, key-value head]`, ascending. Heads in a sliding window are none, for they cannot look
    /// far.
    pub fn retrieval(&self) -> Vec<[usize; 2]> {
        let mut best: BTreeMap<[usize; 2], [f64; 2]> = BTreeMap::new();
        for head in self.heads.iter().filter(|head| head.window.is_none()) {
            let [induction, echo] = best.entry([head.layer, head.kv_head]).or_default();
            (*induction, *echo) = (induction.max(head.induction), echo.max(head.echo));
        }
        let first = |score: usize, share: f64, least: usize| {
            let mut order: Vec<_> = best.iter().collect();
            order.sort_by(|a, b| b.1[score].total_cmp(&a.1[score]).then(a.0.cmp(b.0)));
            let count = ((share * order.len() as f64).round() as usize).max(least);
            order.into_iter().take(count).map(|(head, _)| *head).collect::<Vec<_>>()
        };
        let mut heads = [first(0, BY_INDUCTION, 1), first(1, BY_ECHO, 0)].concat();
        heads.sort_unstable();
        heads.dedup();
        heads
    }
}

/// The first layer that picks nearly as well as the best one does: early layers cost less. None if no layer sees a whole text.
pub fn picking(picks: &[Option<f64>]) -> Option<usize> {
    let best = picks.iter().copied().flatten().max_by(f64::total_cmp)?;
    picks.iter().position(|picks| picks.is_some_and(|picks| picks >= NEARLY * best))
}

impl Engine {
    /// What every head does on repeated random tokens.
    ///
    /// Measured when first asked for, which takes as long as reading a thousand tokens. If the model came from a file, the
    /// result is kept in the cache directory and found there by the next process.
    pub fn head_scores(&self) -> Result<&HeadScores, EngineError> {
        if let Some(scores) = self.heads.get() {
            return Ok(scores);
        }
        self.check_attends()?;
        let text = text(self)?;
        let kept = self.files.as_deref().and_then(|files| Kept::of(files, &text));
        let scores = match kept.as_ref().and_then(|kept| kept.read(self.spec())) {
            Some(scores) => scores,
            None => {
                let scores = measure(self, &text);
                if let Some(kept) = kept {
                    kept.write(&scores);
                }
                scores
            }
        };
        Ok(self.heads.get_or_init(|| scores))
    }
}

/// The text that is read: the first token, then the same random tokens [`REPEATS`] times.
fn text(engine: &Engine) -> Result<Vec<u32>, EngineError> {
    let vocabulary = engine.spec().vocabulary as u32;
    // Special tokens stand at the ends of most vocabularies.
    let mut ids: Vec<u32> = (vocabulary / 4..vocabulary - vocabulary / 4).collect();
    let context = engine.spec().positions().map_or(engine.context(), |positions| positions.min(engine.context()));
    let segment = SEGMENT.min(ids.len()).min(context.saturating_sub(1) / REPEATS);
    if segment < 2 {
        return Err(EngineError::NoRoomForHeads {
            context,
            least: 1 + 2 * REPEATS,
            vocabulary: engine.spec().vocabulary,
        });
    }
    // Different tokens: chance repetitions within a segment would only add noise.
    ids.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    Ok(std::iter::once(engine.first_token).chain(ids[..segment].repeat(REPEATS)).collect())
}

/// Reads `text`, as [`text`] makes it, once.
fn measure(engine: &Engine, text: &[u32]) -> HeadScores {
    let (mut heads, mut picks) = (Vec::new(), vec![None; engine.spec().layers.len()]);
    let segment = (text.len() - 1) / REPEATS;
    let mut probe = Probe(|looking: &Looking<'_>| {
        heads.extend(induction::of_layer(looking, segment, text.len()));
        picks[looking.layer] = picks::of_layer(looking, segment, text.len());
    });
    engine.observe(text, &mut probe, |_| {});
    HeadScores { heads, picks }
}

/// Whether `scores` name every head of `model`, in order.
fn belong_to(scores: &[HeadScore], model: &DecoderSpec) -> bool {
    let heads = model.layers.iter().enumerate().flat_map(|(layer, block)| {
        let shape = StoreShape::of(block, model.dim);
        (0..shape.heads).map(move |head| (layer, head, head / shape.group(), shape.window))
    });
    scores.iter().map(|score| (score.layer, score.head, score.kv_head, score.window)).eq(heads)
}

#[cfg(test)]
mod tests;

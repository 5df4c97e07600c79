//! Vectors of whole texts: what the output head reads after their tokens, pooled to one vector of length 1.
//!
//! Short texts share forwards as prompts do (`prepack`); a row is what it would be alone, so a text's vector is the same bit for bit
//! whatever it is embedded with.

use serde::{Deserialize, Serialize};

use crate::cache::CachePolicy;
use crate::forward::PROMPT_CHUNK;
use crate::{Chunk, Engine, EngineError, Sequence, Wanted, best_fit};

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the last token, which has seen all others.
    Last,
}

impl Engine {
    /// The vectors `[dim]` of `texts`, each of length 1 (or 0 where all is 0).
    ///
    /// # Errors
    /// If a text is empty, too long, or has a token that the model does not know.
    pub fn embed(&self, texts: &[Vec<u32>], pooling: Pooling) -> Result<Vec<Vec<f32>>, EngineError> {
        for ids in texts {
            self.check_text(0, ids)?;
        }
        let policy = CachePolicy::parse("f32")?;
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        for members in best_fit(&lengths, PROMPT_CHUNK) {
            let read = |_: &usize| self.sequence(&policy);
            let mut sequences = members.iter().map(read).collect::<Result<Vec<Sequence>, _>>()?;
            let ids: Vec<&[u32]> = members.iter().map(|&text| &texts[text][..]).collect();
            for (text, pooled) in members.into_iter().zip(self.pooled(&mut sequences, &ids, pooling)) {
                vectors[text] = unit(&pooled);
            }
        }
        Ok(vectors)
    }

    /// The sum, or the last, of the vectors of each text of `texts`, which fit a forward or are one.
    fn pooled(&self, sequences: &mut [Sequence], texts: &[&[u32]], pooling: Pooling) -> Vec<Vec<f64>> {
        let dim = self.spec().dim;
        let mut pooled = vec![vec![0.0; dim]; texts.len()];
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        for start in (0..longest).step_by(PROMPT_CHUNK) {
            let mut chunks: Vec<Chunk<'_>> = sequences
                .iter_mut()
                .zip(texts)
                .map(|(sequence, ids)| {
                    let end = ids.len().min(start + PROMPT_CHUNK);
                    let ids = &ids[start.min(end)..end];
                    Chunk { sequence, ids, prompt_ends: false, wanted: Wanted::Nothing }
                })
                .collect();
            let rows = self.hidden(&mut chunks);
            let mut rows = rows.chunks_exact(dim);
            for (chunk, pooled) in chunks.iter().zip(&mut pooled) {
                for row in rows.by_ref().take(chunk.ids.len()) {
                    for (sum, &value) in pooled.iter_mut().zip(row) {
                        let before = if pooling == Pooling::Mean { *sum } else { 0.0 };
                        *sum = before + f64::from(value);
                    }
                }
            }
        }
        pooled
    }
}

/// The vector of length 1 that points where `vector` does.
fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (value * scale) as f32).collect()
}

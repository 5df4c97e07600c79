//! GemFilter: an early layer picks the tokens of a prompt, and only those are read in full.
//!
//! The first layers read the whole prompt. In the last of them, `a_j = Σ q_hi · k_j` over the last `rows` queries `i` and all query
//! heads `h`, without scale and softmax, averaged over `kernel` neighbouring keys. The tokens with the largest `a_j` are then read by all
//! layers, from the first one on and at positions from zero, as if nothing else had been there.
//! Shi et al. 2024, arXiv:2409.17422.

use headwise_kernels::kv::Codec;
use headwise_models::decoder::DecoderSpec;

use super::limits::{Limits, When};
use super::prompt_filter::{Chosen, PromptFilter};
use super::{LayerStore, Needs, PolicyError, Protected, StoreShape, evict, read};
use crate::{Engine, EngineError, neighbours};

headwise_spec::method! {
    /// Lets an early layer pick the tokens of a prompt, then reads only those.
    ///
    /// Saves time as well as memory: all layers but the first ones see the picked tokens only. Good for a question at the end of a
    /// long prompt, bad where every token counts, as in counting or summing up. Acts on the first prompt of a text.
    /// Shi et al. 2024, arXiv:2409.17422.
    pub struct GemFilter {
        /// The layer that picks, counted from zero, one that sees the whole prompt; none takes the first such one after two fifths of
        /// them.
        pub layer: Option<usize> = None,
        /// Last queries that pick. The paper has one; a few are steadier in small models.
        pub rows: usize = 8,
        /// Width of the average over neighbouring keys; odd.
        pub kernel: usize = 5,
        /// First tokens that are always read.
        pub first: usize = 4,
        /// Last tokens that are always read.
        pub last: usize = 16,
        /// Tokens read.
        pub budget: Option<usize> = None,
        /// Share of the prompt read, above 0 and at most 1.
        pub keep: Option<f64> = None,
    }
}

impl PromptFilter for GemFilter {
    fn limits(&self) -> Result<Limits, String> {
        super::snapkv::check("gemfilter", self.rows, self.kernel)?;
        Limits::new("gemfilter", self.budget, self.keep, None, When::End, false, 0)
    }

    fn choose(&self, engine: &Engine, ids: &[u32], codec: Codec) -> Result<Chosen, EngineError> {
        let layer = self.layer_of(engine.spec()).map_err(PolicyError::Parameter)?;
        let limits = self.limits().map_err(PolicyError::Parameter)?;
        let budget = limits.pairs(ids.len(), 1, 1);
        if budget >= ids.len() {
            return Ok(Chosen { tokens: (0..ids.len()).collect(), peak_bytes: 0 });
        }
        let needs = Needs { query_window: self.rows, ..Needs::default() };
        let sequence = engine.read_first_layers(ids, codec, needs, layer + 1)?;
        let scores = self.scores(&sequence.layers[layer], ids.len());
        let protected = Protected { sinks: self.first, recent: self.last };
        let tokens = evict::select(&scores, budget, protected).into_iter().map(|token| token as usize).collect();
        Ok(Chosen { tokens, peak_bytes: sequence.peak_bytes() })
    }
}

impl GemFilter {
    /// The layer that picks.
    fn layer_of(&self, model: &DecoderSpec) -> Result<usize, String> {
        let whole = |&layer: &usize| StoreShape::of(&model.layers[layer], model.dim).sees_everything();
        let whole: Vec<usize> = (0..model.layers.len()).filter(whole).collect();
        let early = model.layers.len() * 2 / 5;
        let found = match self.layer {
            Some(layer) => whole.iter().find(|&&other| other == layer),
            None => whole.iter().find(|&&layer| layer >= early).or(whole.last()),
        };
        found.copied().ok_or_else(|| {
            let named = self.layer.map_or("layer=none".into(), |layer| format!("layer={layer}"));
            format!("`gemfilter`: {named} does not see a whole prompt in this model; those that do: {whole:?}")
        })
    }

    /// `a_j` of every token, averaged over its neighbours.
    fn scores(&self, store: &LayerStore, tokens: usize) -> Vec<f32> {
        let shape = store.shape();
        let (head_dim, width) = (shape.head_dim, shape.heads * shape.head_dim);
        let queries = store.queries.last(self.rows);
        let mut sums = vec![0.0; tokens];
        for (kv_head, pairs) in store.pairs().iter().enumerate() {
            // The sum over queries can be taken before the product.
            let mut query = vec![0.0; head_dim];
            for row in queries.chunks_exact(width) {
                let group = &row[kv_head * shape.group() * head_dim..][..shape.group() * head_dim];
                for head in group.chunks_exact(head_dim) {
                    query.iter_mut().zip(head).for_each(|(sum, x)| *sum += x);
                }
            }
            let (keys, _) = read::read(pairs, head_dim);
            // A layer with a window of its own holds the last keys only.
            let sums = &mut sums[tokens - pairs.len()..];
            for (sum, key) in sums.iter_mut().zip(keys.chunks_exact(head_dim)) {
                *sum += key.iter().zip(&query).map(|(k, q)| k * q).sum::<f32>();
            }
        }
        neighbours::average(&sums, self.kernel)
    }
}

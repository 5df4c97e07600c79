//! GemFilter: an early layer picks the tokens of a prompt, and only those are read in full.
//!
//! The first layers read the whole prompt. In the last of them, `a_j = Σ q_hi · k_j` over the last `rows` queries `i` and all query
//! heads `h`, without scale and softmax, averaged over `kernel` neighbouring keys. The tokens with the largest `a_j` are then read by all
//! layers, from the first one on and at positions from zero, as if nothing else had been there.
//!
//! Which layer finds best is a matter of the model. `headwise inspect heads --needles 8` shows what each picks of needles and keeps it for
//! this policy; without that, what each picks of repeated random tokens decides ([`crate::heads`]), which says less. The first of the best is
//! taken unless one is named. The paper has layer 13 of 32, found by trying needles.
//! Shi et al. 2024, arXiv:2409.17422.

use headwise_kernels::kv::Codec;

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
        /// The layer that picks, counted from zero, one that sees the whole prompt; none takes the first of those that pick best: of needles
        /// once `headwise inspect heads --needles 8` has measured them, else of repeated random tokens.
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
        let layer = self.layer_of(engine)?;
        let limits = self.limits().map_err(PolicyError::Parameter)?;
        let budget = limits.pairs(ids.len(), 1, 1);
        if budget >= ids.len() {
            return Ok(Chosen { tokens: (0..ids.len()).collect(), peak_bytes: 0 });
        }
        let needs = Needs { query_window: self.rows, ..Needs::default() };
        let sequence = engine.read_first_layers(ids, codec, needs, layer + 1)?;
        let tokens = self.pick(&self.products(&sequence.layers[layer], ids.len()), budget);
        Ok(Chosen { tokens, peak_bytes: sequence.peak_bytes() })
    }
}

impl GemFilter {
    /// The tokens of the prompt `ids` that each layer would pick, ascending; none for a layer that does not see a whole prompt. This reads
    /// the prompt in all layers.
    pub fn picked_by_layers(&self, engine: &Engine, ids: &[u32]) -> Result<Vec<Option<Vec<usize>>>, EngineError> {
        let limits = self.limits().map_err(PolicyError::Parameter)?;
        let budget = limits.pairs(ids.len(), 1, 1);
        let needs = Needs { query_window: self.rows, ..Needs::default() };
        let sequence = engine.read_first_layers(ids, Codec::F16, needs, engine.spec().layers.len())?;
        let picked = |store: &LayerStore| {
            store.shape().sees_everything().then(|| self.pick(&self.products(store, ids.len()), budget))
        };
        Ok(sequence.layers.iter().map(picked).collect())
    }

    /// The `budget` tokens that are read when every token has the products `products` with the queries that pick; ascending.
    pub(crate) fn pick(&self, products: &[f32], budget: usize) -> Vec<usize> {
        let scores = neighbours::average(products, self.kernel);
        let protected = Protected { sinks: self.first, recent: self.last };
        evict::select(&scores, budget, protected).into_iter().map(|token| token as usize).collect()
    }

    /// The layer that picks.
    fn layer_of(&self, engine: &Engine) -> Result<usize, EngineError> {
        let model = engine.spec();
        let whole = |&layer: &usize| StoreShape::of(&model.layers[layer], model.dim).sees_everything();
        let whole: Vec<usize> = (0..model.layers.len()).filter(whole).collect();
        let found = match self.layer {
            Some(layer) => whole.contains(&layer).then_some(layer),
            None => engine.picking_layer()?,
        };
        found.ok_or_else(|| {
            let named = self.layer.map_or("layer=none".into(), |layer| format!("layer={layer}"));
            let refused =
                format!("`gemfilter`: {named} does not see a whole prompt in this model; those that do: {whole:?}");
            PolicyError::Parameter(refused).into()
        })
    }

    /// `Σ q·k` of every token.
    fn products(&self, store: &LayerStore, tokens: usize) -> Vec<f32> {
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
        sums
    }
}

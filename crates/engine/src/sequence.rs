//! One text being read or written: its stores, its policy, its position.

use std::sync::Arc;

use headwise_kernels::kv::{Codec, KeyValues, StoreBytes};
use headwise_models::decoder::DecoderSpec;

use crate::cache::{CachePolicy, KnownHeads, LayerStore, Needs, PairsRead};
use crate::experts::Recent;
use crate::pine::SegmentSet;
use crate::{Adapter, Engine, EngineError};

/// The state of one text. A clone is a fork: pages are shared until one side writes.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(crate) policy: Arc<CachePolicy>,
    pub(crate) layers: Vec<LayerStore>,
    pub(crate) tokens: usize,
    pub(crate) prompt_ended: bool,
    pub(crate) peak_bytes: usize,
    /// Its last tokens, as far as they were read by forwards; a session does not keep them.
    pub(crate) recent: Recent,
    /// Segments whose order does not matter, if the text has some.
    pub(crate) set: Option<Arc<SegmentSet>>,
    /// The tokens of its first prompt that the policy read, where that reads a part.
    pub(crate) chosen: Option<Arc<[usize]>>,
    /// What changes the model's projections for this text, if anything does.
    pub(crate) adapter: Option<Arc<Adapter>>,
}

impl Sequence {
    /// An empty text for `model` under `policy`, which knows what it asked of the model's heads.
    pub(crate) fn new(model: &DecoderSpec, policy: &CachePolicy, known: &KnownHeads) -> Self {
        Self {
            layers: policy.stores(model, known),
            policy: Arc::new(policy.clone()),
            tokens: 0,
            prompt_ended: false,
            peak_bytes: 0,
            recent: Recent::default(),
            set: None,
            chosen: None,
            adapter: None,
        }
    }

    /// A text of which the first `layers` layers are read, each with what `needs` names.
    pub(crate) fn partial(model: &DecoderSpec, codec: Codec, needs: Needs, layers: usize) -> Self {
        let policy = CachePolicy::gathering(codec, needs);
        let mut sequence = Self::new(model, &policy, &KnownHeads::default());
        sequence.layers.truncate(layers);
        sequence
    }

    /// The tokens of `ids` that the policy reads, if it reads only a part of a text's first prompt.
    pub(crate) fn choose_tokens(&mut self, engine: &Engine, ids: &[u32]) -> Result<Option<Vec<u32>>, EngineError> {
        let Some(filter) = self.policy.filter() else { return Ok(None) };
        if self.tokens > 0 {
            return Ok(None);
        }
        let chosen = filter.choose(engine, ids, self.policy.codec())?;
        self.peak_bytes = self.peak_bytes.max(chosen.peak_bytes);
        let read = chosen.tokens.iter().map(|&token| ids[token]).collect();
        self.chosen = Some(chosen.tokens.into());
        Ok(Some(read))
    }

    /// The tokens of the first prompt that the policy has read, ascending, where it read a part; a session does not keep which.
    pub fn chosen(&self) -> Option<&[usize]> {
        self.chosen.as_deref()
    }

    /// Tokens of text so far; the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The policy of its cache.
    pub fn policy(&self) -> &CachePolicy {
        &self.policy
    }

    /// The stores of all layers; those of segments whose order does not matter are elsewhere.
    pub fn layers(&self) -> &[LayerStore] {
        &self.layers
    }

    /// Tokens of segments whose order does not matter.
    pub fn segment_tokens(&self) -> usize {
        self.set.as_ref().map_or(0, |set| set.tokens())
    }

    /// Memory of the cache now, by what it is for.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.layers.iter().for_each(|layer| bytes += layer.bytes());
        self.set.iter().for_each(|set| bytes += set.bytes());
        bytes
    }

    /// Memory of the caches of `forks` of one text together: what they share counts once.
    pub fn bytes_together(forks: &[&Self]) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        for layer in 0..forks.first().map_or(0, |fork| fork.layers.len()) {
            let stores: Vec<&LayerStore> = forks.iter().map(|fork| &fork.layers[layer]).collect();
            bytes += LayerStore::bytes_together(&stores);
        }
        let mut sets: Vec<&Arc<SegmentSet>> = forks.iter().filter_map(|fork| fork.set.as_ref()).collect();
        sets.sort_by_key(|set| Arc::as_ptr(set));
        sets.dedup_by(|a, b| Arc::ptr_eq(a, b));
        sets.into_iter().for_each(|set| bytes += set.bytes());
        bytes
    }

    /// How many more tokens can be read and then taken back, under a policy that can take tokens back at all.
    pub(crate) fn most_rollback(&self) -> usize {
        self.layers.iter().map(LayerStore::rows_until_leaving).min().unwrap_or(usize::MAX)
    }

    /// Takes back all tokens from number `tokens` on, no more than [`Sequence::most_rollback`] gave before they were read.
    pub(crate) fn rollback(&mut self, tokens: usize) {
        if tokens < self.tokens {
            self.layers.iter_mut().for_each(|layer| layer.rollback(tokens));
            self.tokens = tokens;
        }
    }

    /// Takes over what `other`, whose prompt has not ended, has read of the same text.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.layers.iter_mut().zip(&other.layers).for_each(|(layer, read)| layer.adopt(read));
        self.tokens = other.tokens;
        self.note_peak();
    }

    /// Lets go of the last queries of every layer.
    pub(crate) fn forget_queries(&mut self) {
        self.layers.iter_mut().for_each(LayerStore::forget_queries);
    }

    /// Whether every head of every layer holds all tokens, and nothing else is kept of them.
    pub(crate) fn is_whole(&self) -> bool {
        let stateless = self.layers.iter().all(|layer| layer.state.is_empty());
        stateless && self.pairs().all(|pairs| pairs.len() == self.tokens)
    }

    /// The pages of all heads, each with what tells it from all others as long as it lives, and its bytes.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pairs().flat_map(KeyValues::pages)
    }

    fn pairs(&self) -> impl Iterator<Item = &KeyValues> {
        self.layers.iter().flat_map(|layer| layer.pairs())
    }

    /// The most memory the cache has had, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// How many pairs the queries after the prompt have read.
    pub fn pairs_read(&self) -> PairsRead {
        let mut pairs = PairsRead::default();
        self.layers.iter().for_each(|layer| pairs += layer.pairs_read);
        pairs
    }

    pub(crate) fn note_peak(&mut self) {
        self.peak_bytes = self.peak_bytes.max(self.bytes().total());
    }
}

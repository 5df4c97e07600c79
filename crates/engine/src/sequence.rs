//! One text being read or written: its stores, its policy, its position.

use std::sync::Arc;

use headwise_kernels::kv::StoreBytes;
use headwise_models::decoder::DecoderSpec;

use crate::cache::{CachePolicy, LayerStore};

/// The state of one text. A clone is a fork: pages are shared until one side writes.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(crate) policy: Arc<CachePolicy>,
    pub(crate) layers: Vec<LayerStore>,
    pub(crate) tokens: usize,
    pub(crate) prompt_ended: bool,
    pub(crate) peak_bytes: usize,
}

impl Sequence {
    /// An empty text for `model` under `policy`, whose key-value heads `whole`, each `[layer, head]`, keep everything if
    /// the policy makes the difference.
    pub(crate) fn new(model: &DecoderSpec, policy: &CachePolicy, whole: &[[usize; 2]]) -> Self {
        Self {
            layers: policy.stores(model, whole),
            policy: Arc::new(policy.clone()),
            tokens: 0,
            prompt_ended: false,
            peak_bytes: 0,
        }
    }

    /// Tokens of text so far; the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The policy of its cache.
    pub fn policy(&self) -> &CachePolicy {
        &self.policy
    }

    /// The stores of all layers.
    pub fn layers(&self) -> &[LayerStore] {
        &self.layers
    }

    /// Memory of the cache now, by what it is for.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.layers.iter().for_each(|layer| bytes += layer.bytes());
        bytes
    }

    /// The most memory the cache has had, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    pub(crate) fn note_peak(&mut self) {
        self.peak_bytes = self.peak_bytes.max(self.bytes().total());
    }
}

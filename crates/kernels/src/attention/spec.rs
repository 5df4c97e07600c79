//! What a softmax attention computes: scores, visibility, statistics.

use std::sync::Arc;

use super::block_mask::{BlockMask, BlockRow};

/// How scores are formed and which keys a query sees; shared by training and inference.
///
/// One score is made in this order: `s = scale · q·k`; `s = softcap · tanh(s / softcap)`; `s -= slope_h · |p_i - p_j|`;
/// `s += bias` (training only); invisible keys are left out; softmax, with the sink logit as one more logit without value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttnSpec {
    /// Factor of the dot product, usually `1 / √head_dim`.
    pub scale: f32,
    /// Whether keys after the query are hidden.
    pub causal: bool,
    /// `w`: a query at position `i` sees keys with `0 <= i - j < w`, in text positions.
    pub window: Option<usize>,
    /// With a window, the first slots that stay visible whatever their distance.
    pub sinks_keep: usize,
    /// Blocks of keys that each block of queries sees; all without one.
    pub blocks: Option<Arc<BlockMask>>,
    /// `c`: scores become `c · tanh(s / c)`.
    pub softcap: Option<f32>,
    /// ALiBi slope of each head (Press et al. 2022, arXiv:2108.12409).
    pub alibi: Option<Arc<[f32]>>,
    /// A learned logit per head that takes part in the softmax and has no value.
    pub sink_logits: Option<Arc<[f32]>>,
    /// Statistics to return.
    pub want: Stats,
}

impl AttnSpec {
    /// Causal attention with scale `1 / √head_dim`.
    pub fn causal(head_dim: usize) -> Self {
        Self { causal: true, ..Self::full(head_dim) }
    }

    /// Attention of every query to every key with scale `1 / √head_dim`.
    pub fn full(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), ..Self::default() }
    }

    /// The score of a query and a key with the dot product `product`, before what depends on where they stand.
    pub fn score(&self, product: f64) -> f64 {
        let score = f64::from(self.scale) * product;
        self.softcap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh())
    }

    /// The ALiBi slope of a head, 0 without ALiBi.
    pub(super) fn slope(&self, head: usize) -> f32 {
        self.alibi.as_ref().map_or(0.0, |slopes| slopes[head])
    }

    /// The sink logit of a head, −∞ without one.
    pub(super) fn sink_logit(&self, head: usize) -> f32 {
        self.sink_logits.as_ref().map_or(f32::NEG_INFINITY, |logits| logits[head])
    }

    /// The blocks that the query at slot `query` of a head sees.
    pub(super) fn blocks_of(&self, head: usize, query: isize) -> BlockRow<'_> {
        self.blocks.as_ref().map_or_else(BlockRow::default, |mask| mask.row(head, query))
    }

    /// Panics unless the per-head parameters are there for `heads` heads.
    pub(super) fn check(&self, heads: usize) {
        for per_head in [&self.alibi, &self.sink_logits].into_iter().flatten() {
            assert_eq!(per_head.len(), heads, "ALiBi slopes and sink logits: one per query head");
        }
        let lists = self.blocks.as_ref().map_or(1, |mask| mask.heads());
        assert!(lists == 1 || lists == heads, "a block mask of {lists} heads for {heads} query heads");
    }
}

/// Statistics that attention returns beside its output, when asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// `lse = ln Σ_j exp(s_ij)` per row and head.
    pub lse: bool,
    /// `-Σ_j p_ij ln p_ij` per row and head.
    pub entropy: bool,
    /// `Σ_i p_ij` per key, by [`column_sums`](super::column_sums); needs `lse`.
    pub col_sum: bool,
}

impl Stats {
    /// Everything that either asks for.
    pub fn union(self, other: Self) -> Self {
        Self {
            lse: self.lse || other.lse,
            entropy: self.entropy || other.entropy,
            col_sum: self.col_sum || other.col_sum,
        }
    }

    /// Whether the log-sum-exp has to be returned: itself or as an input of the column sums.
    pub fn needs_lse(self) -> bool {
        self.lse || self.col_sum
    }
}

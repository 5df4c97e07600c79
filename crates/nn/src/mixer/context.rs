//! What a forward tells every mixer: positions, sequences, and where keys and values are kept.

use std::ops::Range;

use burn::tensor::Tensor;
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::rope::{HeadLayout, Rope};

use super::MixerState;
use crate::adapter::{AdaptedRows, Adapters};

/// The rows of one sequence in a forward. A forward may hold many sequences, each with rows of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which sequence of the cache the rows belong to.
    pub sequence: usize,
    /// The rows, in text order.
    pub rows: Range<usize>,
}

/// The state of a forward that mixers read and, through the cache, write.
pub struct MixContext<'a> {
    /// Text position of every row.
    pub positions: &'a [i32],
    /// Which rows belong to which sequence; together they cover all rows, in order. In training there may be none: then
    /// every text of the batch is a sequence of its own.
    pub segments: &'a [Segment],
    /// Index of the layer being run.
    pub layer: usize,
    /// What is kept of earlier forwards; none in training.
    pub cache: Option<&'a mut dyn LayerCache>,
    /// Rows whose projections have adapters, each adapter once.
    pub adapters: &'a [AdaptedRows],
    /// What layers add to the loss, so that their parts are equally busy; filled in training only.
    pub balance: Vec<Tensor<1>>,
}

impl<'a> MixContext<'a> {
    /// For a forward over rows at `positions` that belong to `segments`, its first layer, with nothing kept of earlier ones.
    pub fn new(positions: &'a [i32], segments: &'a [Segment]) -> Self {
        Self { positions, segments, layer: 0, cache: None, adapters: &[], balance: Vec::new() }
    }

    /// The adapters, as the layer being run meets them.
    pub(crate) fn adapters(&self) -> Adapters<'a> {
        Adapters::new(self.adapters, self.layer)
    }

    /// The length of every sequence if all have the same length and positions, or none are marked.
    pub(crate) fn equal_lengths(&self) -> Option<usize> {
        let first = self.segments.first().map_or(0..0, |segment| segment.rows.clone());
        let length = first.len();
        let same = |segment: &Segment| {
            segment.rows.len() == length && self.positions[segment.rows.clone()] == self.positions[first.clone()]
        };
        self.segments.iter().all(same).then_some(length)
    }
}

/// Queries, keys and values as the projections give them, not rotated: `[rows, heads · head_dim]`, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Projected<'a> {
    /// `[rows, heads · head_dim]`
    pub query: &'a [f32],
    /// `[rows, kv_heads · head_dim]`
    pub key: &'a [f32],
    /// `[rows, kv_heads · head_dim]`
    pub value: &'a [f32],
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; each serves `heads / kv_heads` consecutive query heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl Projected<'_> {
    /// Copies of the queries and keys, rotated to `positions`, one for each row, where there is a rotation.
    pub fn rotated(&self, rope: Option<&Rope>, positions: &[i32]) -> (Vec<f32>, Vec<f32>) {
        let rotated = |rows: &[f32], heads: usize| {
            let mut rows = rows.to_vec();
            if let Some(rope) = rope {
                let layout = HeadLayout { row_stride: heads * self.head_dim, heads, head_dim: self.head_dim };
                rope.rotate(&mut rows, layout, positions);
            }
            rows
        };
        (rotated(self.query, self.heads), rotated(self.key, self.kv_heads))
    }
}

/// What is kept of earlier tokens between forwards by whoever runs the model: keys and values, and the states of mixers.
///
/// The cache alone rotates keys and queries, because only it knows in which form it keeps them.
pub trait LayerCache {
    /// Adds the new pairs of every segment, then attends: `out` `[rows, heads · head_dim]` is overwritten.
    fn attend(
        &mut self,
        layer: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        segments: &[Segment],
        out: &mut [f32],
    );

    /// The states of `layer`, one for each text of the forward, in order. Without them every text begins with its first row.
    fn states(&mut self, _layer: usize) -> Option<Vec<&mut MixerState>> {
        None
    }
}

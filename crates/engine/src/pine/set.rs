//! The pairs of a set of segments, and how tokens after them read them.

use headwise_kernels::attention::Shape;
use headwise_kernels::kv::{Codec, KeyValues, StoreBytes};
use headwise_kernels::parallel;
use headwise_kernels::profile;
use headwise_kernels::simd::LANES;
use headwise_nn::mixer::Projected;

use super::importance;
use super::join::{LayerAttention, RawQueries, Target, piece};

/// A set of segments that has been read. Segments are numbered by their tokens, not by the order in which they stand.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    /// Tokens of every segment.
    pub(super) lengths: Vec<usize>,
    /// The position of the first token after them.
    pub(super) end: usize,
    pub(super) layers: Vec<SetLayer>,
}

/// The pairs of all segments in one layer.
#[derive(Debug)]
pub(super) struct SetLayer {
    kv_heads: usize,
    /// Keys rotated by their places in their segment, and values: `[segments, kv_heads]`.
    placed: Vec<KeyValues>,
    /// Keys before rotation, with values that say nothing: `[segments, kv_heads]`; none in a layer that does not rotate.
    raw: Vec<KeyValues>,
}

/// Channels of the values beside raw keys: the kernel reads whole vectors where they are stored.
const NO_VALUE: usize = LANES;

impl SetLayer {
    /// The pairs of the segments at `rows` of `projected`, whose rotated keys are `key`; raw keys are kept if there is an order to find.
    pub fn new(
        codec: Codec,
        projected: &Projected<'_>,
        key: &[f32],
        rows: &[std::ops::Range<usize>],
        orders: bool,
    ) -> Self {
        let _span = profile::span("key-value append");
        let Projected { kv_heads, head_dim, value, .. } = *projected;
        let stores = |keys: &[f32], value_dim: usize| {
            let mut stores = vec![KeyValues::new(codec, head_dim, value_dim); rows.len() * kv_heads];
            parallel::pieces(&mut stores, 1, |index, store| {
                let (rows, head) = (rows[index / kv_heads].clone(), index % kv_heads);
                for (place, row) in rows.enumerate() {
                    let channels = (row * kv_heads + head) * head_dim..(row * kv_heads + head + 1) * head_dim;
                    let value = if value_dim == head_dim { &value[channels.clone()] } else { &[0.0; NO_VALUE] };
                    store[0].push(&keys[channels], value, place as i32);
                }
            });
            stores
        };
        let raw = if orders { stores(projected.key, NO_VALUE) } else { Vec::new() };
        Self { kv_heads, placed: stores(key, head_dim), raw }
    }

    /// The pairs of segment `segment`, of every key-value head.
    pub fn placed(&self, segment: usize) -> &[KeyValues] {
        &self.placed[segment * self.kv_heads..][..self.kv_heads]
    }

    /// How much `queries` `[rows, heads · head_dim]` would attend to each of `segments` without positions: log-sum-exp `[segments, rows,
    /// heads]`.
    pub fn without_positions(&self, attention: &LayerAttention<'_>, queries: &[f32], segments: &[usize]) -> Vec<f32> {
        let stores = segments.iter().map(|segment| &self.raw[segment * self.kv_heads..][..self.kv_heads]);
        attention.without_positions(queries, stores, NO_VALUE)
    }

    /// Codes what waits for that.
    pub fn settle(&mut self) {
        self.placed.iter_mut().chain(&mut self.raw).for_each(KeyValues::settle);
    }

    /// Pairs are kept; raw keys are what it costs to order them.
    fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.placed.iter().for_each(|pairs| bytes += pairs.bytes());
        bytes.statistics += self.raw.iter().map(|keys| keys.bytes().total()).sum::<usize>();
        bytes
    }
}

impl SegmentSet {
    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of all segments.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Memory held, by what it is for; raw keys are statistics.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.layers.iter().for_each(|layer| bytes += layer.bytes());
        bytes
    }

    /// Adds what the segments give to rows after them in layer `layer`, which have attended to everything else: `out` `[rows, heads ·
    /// head_dim]`, `lse` `[rows, heads]`.
    pub fn attend(
        &self,
        layer: usize,
        attention: LayerAttention<'_>,
        queries: RawQueries<'_>,
        lse: &[f32],
        out: &mut [f32],
    ) {
        let _span = profile::whole("attention, segments");
        let Shape { heads, .. } = attention.shape;
        let (width, rows) = (attention.width(), piece(self.segments()));
        let pieces = queries.rows.chunks(rows * width).zip(queries.positions.chunks(rows));
        let pieces = pieces.zip(lse.chunks(rows * heads)).zip(out.chunks_mut(rows * width));
        for (((rows, positions), lse), out) in pieces {
            let starts = self.starts(layer, &attention, rows);
            let target = |(segment, starts)| Target { heads: self.layers[layer].placed(segment), starts };
            let targets: Vec<Target<'_>> = starts.into_iter().enumerate().map(target).collect();
            attention.join(RawQueries { rows, positions }, &targets, lse, out);
        }
    }

    /// Where every segment starts for `queries` after the segments.
    fn starts(&self, layer: usize, attention: &LayerAttention<'_>, queries: &[f32]) -> Vec<Vec<i32>> {
        if attention.rope.is_none() {
            return vec![vec![0]; self.segments()];
        }
        let all: Vec<usize> = (0..self.segments()).collect();
        let lse = self.layers[layer].without_positions(attention, queries, &all);
        importance::of_lines(&lse, &self.lengths, self.end as i32)
    }
}

//! Reading the segments of a set: each sees what stands before all of them, the others, and itself causally.

use std::ops::Range;
use std::sync::Arc;

use headwise_kernels::attention::{self as kernel, AttnSpec, Rows, RowsMut, Segment as Keys, Shape, Stats, StatsOut};
use headwise_kernels::kv::Codec;
use headwise_kernels::profile;
use headwise_kernels::rope::Rope;
use headwise_models::decoder::DecoderSpec;
use headwise_nn::mixer::{LayerCache, Projected, Segment};
use headwise_nn::position::PositionSpec;
use headwise_spec::Family;

use super::join::{LayerAttention, RawQueries, Target, piece};
use super::set::{SegmentSet, SetLayer};
use super::{SegmentsError, importance};
use crate::cache::{CachePolicy, LayerStore};
use crate::forward::silence;
use crate::{Engine, EngineError, Sequence};

/// What texts with an adapter are told.
pub(crate) const READS_SET: &str = "segments cannot be read as a set in";

impl Engine {
    /// Reads `prefix` and then `segments` as a set: what is read or written after them has the same scores, bit for bit, in whatever
    /// order they are given. `prefix` may be empty. One segment is read as any other text.
    ///
    /// The text goes on with [`Engine::prefill`] or [`generate`](crate::generate()). On an error nothing has been read.
    pub fn read_segments(
        &self,
        sequence: &mut Sequence,
        prefix: &[u32],
        segments: &[Vec<u32>],
    ) -> Result<(), EngineError> {
        if let Some(set) = &sequence.set {
            return Err(SegmentsError::Second { segments: set.segments() }.into());
        }
        self.check_segments(&sequence.policy, segments)?;
        sequence.check_plain(READS_SET)?;
        let ids = segments.concat();
        self.check_text(sequence.tokens, &[prefix, &ids].concat())?;
        let ordinary = if segments.len() == 1 { [prefix, &ids].concat() } else { prefix.to_vec() };
        self.read_on(sequence, &ordinary)?;
        if segments.len() > 1 {
            let mut reader = Reader::new(self, sequence, segments);
            self.observe(&ids, &mut reader, |_| {});
            let set = reader.set;
            sequence.tokens = set.end;
            sequence.set = Some(Arc::new(set));
            sequence.note_peak();
        }
        Ok(())
    }

    /// Whether texts under `policy` can have `segments` as a set.
    pub(crate) fn check_segments(&self, policy: &CachePolicy, segments: &[Vec<u32>]) -> Result<(), SegmentsError> {
        if segments.is_empty() {
            return Err(SegmentsError::None);
        }
        if let Some(empty) = segments.iter().position(Vec::is_empty) {
            return Err(SegmentsError::Empty { number: empty + 1 });
        }
        policy.check_segments()?;
        check_model(self.spec())
    }
}

/// Whether the layers of `model` can see a segment at any place.
fn check_model(model: &DecoderSpec) -> Result<(), SegmentsError> {
    if let Some(position) = &model.position {
        return Err(SegmentsError::InputPosition { position: position.name() });
    }
    for (layer, block) in model.layers.iter().enumerate() {
        let stateless = block.mixer.softmax().filter(|_| block.mixer.state(model.dim).is_empty());
        let Some(mixer) = stateless else {
            return Err(SegmentsError::State { layer, mixer: block.mixer.name() });
        };
        if matches!(mixer.position, PositionSpec::Alibi(_)) {
            return Err(SegmentsError::Position { layer, position: mixer.position.name() });
        }
    }
    Ok(())
}

/// What the layers see of a set while it is read.
struct Reader<'a> {
    /// What stands before the segments.
    before: &'a [LayerStore],
    codec: Codec,
    /// The rows of every segment, which are numbered by their tokens.
    rows: Vec<Range<usize>>,
    /// The place of every row in its segment.
    places: Vec<i32>,
    set: SegmentSet,
    /// Query heads that give nothing.
    masked: &'a [[usize; 2]],
}

impl<'a> Reader<'a> {
    fn new(engine: &'a Engine, sequence: &'a Sequence, segments: &[Vec<u32>]) -> Self {
        let mut end = 0;
        let rows = segments.iter().map(|ids| {
            end += ids.len();
            end - ids.len()..end
        });
        let mut rows: Vec<Range<usize>> = rows.collect();
        let places = rows.iter().flat_map(|rows| 0..rows.len() as i32).collect();
        // Equal segments hold equal pairs, so their order does not matter.
        let mut order: Vec<usize> = (0..segments.len()).collect();
        order.sort_by_key(|&segment| &segments[segment]);
        rows = order.iter().map(|&segment| rows[segment].clone()).collect();
        let lengths = rows.iter().map(Range::len).collect();
        let set = SegmentSet { lengths, end: sequence.tokens + end, layers: Vec::new() };
        let (before, codec) = (&sequence.layers[..], sequence.policy.codec());
        Self { before, codec, rows, places, set, masked: &engine.masked }
    }

    /// What every segment reads of itself: `out` `[rows, heads · head_dim]`; returns the log-sum-exp `[rows, heads]`.
    fn attend_within(&self, layer: usize, spec: &AttnSpec, shape: Shape, query: &[f32], out: &mut [f32]) -> Vec<f32> {
        let spec = AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..spec.clone() };
        let within = |(segment, rows): (usize, &Range<usize>)| Keys {
            rows: rows.clone(),
            heads: self.set.layers[layer].placed(segment),
        };
        let mut segments: Vec<Keys<'_, _>> = self.rows.iter().enumerate().map(within).collect();
        segments.sort_by_key(|segment| segment.rows.start);
        let (stride, mut stats) = (shape.heads * shape.head_dim, StatsOut::default());
        let rows = Rows { data: query, stride };
        kernel::attend(&spec, shape, rows, &segments, RowsMut { data: out, stride }, &mut stats);
        stats.lse
    }

    /// Adds what segment `segment` reads of everything else.
    fn attend_others(
        &self,
        layer: usize,
        segment: usize,
        attention: LayerAttention<'_>,
        raw_query: &[f32],
        lse: &[f32],
        out: &mut [f32],
    ) {
        let (own, width, heads) = (self.rows[segment].clone(), attention.width(), attention.shape.heads);
        let others: Vec<usize> = (0..self.rows.len()).filter(|&other| other != segment).collect();
        let start = (self.set.end - own.len()) as i32;
        let queries = &raw_query[own.start * width..own.end * width];
        let starts = self.starts(layer, &attention, queries, &others, start);
        let store = &self.set.layers[layer];
        let target = |(other, starts): (&usize, Vec<i32>)| Target { heads: store.placed(*other), starts };
        let mut targets: Vec<Target<'_>> = others.iter().zip(starts).map(target).collect();
        let before = self.before[layer].pairs();
        if before.iter().any(|pairs| !pairs.is_empty()) {
            targets.push(Target { heads: before, starts: vec![0] });
        }
        let rows = piece(targets.len());
        let positions: Vec<i32> = (start..self.set.end as i32).collect();
        let pieces = queries.chunks(rows * width).zip(positions.chunks(rows));
        let pieces = pieces.zip(lse[own.start * heads..own.end * heads].chunks(rows * heads));
        let pieces = pieces.zip(out[own.start * width..own.end * width].chunks_mut(rows * width));
        for (((rows, positions), lse), out) in pieces {
            attention.join(RawQueries { rows, positions }, &targets, lse, out);
        }
    }

    /// Where each of `others` starts for every head, if the last one ends at `end`.
    fn starts(
        &self,
        layer: usize,
        attention: &LayerAttention<'_>,
        queries: &[f32],
        others: &[usize],
        end: i32,
    ) -> Vec<Vec<i32>> {
        let lengths: Vec<usize> = others.iter().map(|&other| self.set.lengths[other]).collect();
        match (attention.rope, &lengths[..]) {
            (None, _) => vec![vec![0]; others.len()],
            // There is one place only.
            (_, [length]) => vec![vec![end - *length as i32]],
            _ => {
                let rows = piece(others.len()) * attention.width();
                let lse =
                    queries.chunks(rows).map(|rows| self.set.layers[layer].without_positions(attention, rows, others));
                importance::of_heads(lse, attention.shape.heads, &lengths, end)
            }
        }
    }
}

impl LayerCache for Reader<'_> {
    fn attend(
        &mut self,
        layer: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        _: &[i32],
        _: &[Segment],
        out: &mut [f32],
    ) {
        let Projected { heads, kv_heads, head_dim, .. } = projected;
        let (query, key) = projected.rotated(rope, &self.places);
        self.set.layers.push(SetLayer::new(self.codec, &projected, &key, &self.rows, rope.is_some()));
        if layer + 1 == self.before.len() {
            // Nobody asks what the last layer makes of the segments.
            out.fill(0.0);
        } else {
            let _span = profile::whole("attention, segments");
            let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
            let lse = self.attend_within(layer, spec, shape, &query, out);
            for segment in 0..self.rows.len() {
                let attention = LayerAttention { spec, rope, shape };
                self.attend_others(layer, segment, attention, projected.query, &lse, out);
            }
            silence(self.masked, layer, shape, out);
        }
        self.set.layers[layer].settle();
    }
}

//! Attention over whole tensors, as training uses it.

use std::ops::Range;

use super::pass::{Pass, Room, SCRATCH, Scratch, record_width, splits_of};
use super::prepared::{Pair, Pairs, Readable, Transposed};
use super::rows::Shape;
use super::softmax::{finish, log_sum_exp};
use super::spec::AttnSpec;
use super::tile::{LINES, Line, Tile, pack};
use super::view::{Dims, RowsOut, View4, View4Mut};
use super::visible::Visible;
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile;

/// The tensors that attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[batch, heads, queries, head_dim]`.
    pub query: View4<'a>,
    /// `[batch, kv_heads, keys, head_dim]`.
    pub key: View4<'a>,
    /// `[batch, kv_heads, keys, value_dim]`.
    pub value: View4<'a>,
    /// `[batch, heads, queries, keys]`, with stride 0 where it is broadcast; −∞ hides a key.
    pub bias: Option<View4<'a>>,
}

impl Inputs<'_> {
    /// Panics unless the tensors have the sizes that `dims` states.
    pub(super) fn check(&self, dims: &Dims) {
        let Dims { batch, heads, kv_heads, queries, keys, head_dim, value_dim } = *dims;
        self.query.check("query", [batch, heads, queries], head_dim);
        self.key.check("key", [batch, kv_heads, keys], head_dim);
        self.value.check("value", [batch, kv_heads, keys], value_dim);
        if let Some(bias) = &self.bias {
            bias.check("bias", [batch, heads, queries], keys);
        }
    }
}

/// Writes `out [batch, heads, queries, value_dim]` and `lse [batch, heads, queries]`, the latter contiguous.
///
/// A row that sees no key becomes zero, with an `lse` of −∞.
///
/// # Panics
/// If the heads do not divide or a slice has not the length that `dims` states.
pub fn forward(spec: &AttnSpec, dims: &Dims, inputs: &Inputs<'_>, out: View4Mut<'_>, lse: &mut [f32]) {
    let shape = dims.shape();
    shape.check();
    spec.check(dims.heads);
    inputs.check(dims);
    assert_eq!(lse.len(), dims.lse(), "elements of the log-sum-exp");
    let out = out.share("output", [dims.batch, dims.heads, dims.queries], dims.value_dim);
    let _span = profile::span("attention, forward").work(|| work::of_tensors(spec, dims));
    let call = Call { spec, dims, inputs, out, lse: Disjoint::new(lse) };
    let pairs = dims.batch * dims.kv_heads;
    let step = (LINES / shape.group()).max(1);
    let tiles = dims.queries.div_ceil(step);
    // Later tiles may see more keys, so they go first.
    let rows = |tile: usize| (tiles - 1 - tile) * step..((tiles - tile) * step).min(dims.queries);
    if call.pairs_are_small() {
        parallel::parts(pairs, |pair| {
            SCRATCH.with_borrow_mut(|Scratch { query, room, keys, values, .. }| {
                let prepared = call.prepare(Pairs::One(pair), keys, values);
                (0..tiles).for_each(|tile| call.run(&prepared, pair, rows(tile), query, room));
            });
        });
    } else {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let prepared = call.prepare(Pairs::All, &mut keys, &mut values);
        parallel::parts(pairs * tiles, |part| {
            SCRATCH.with_borrow_mut(|Scratch { query, room, .. }| {
                call.run(&prepared, part / tiles, rows(part % tiles), query, room);
            });
        });
    }
}

/// The lines of some query rows of a pair `batch · kv_heads + kv_head`, row by row and head by head, and their scaled queries.
pub(super) fn lines_of<'a>(
    spec: &'a AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'a>,
    pair: usize,
    rows: Range<usize>,
    packed: &mut Vec<f32>,
) -> Vec<Line<'a>> {
    let group = dims.shape().group();
    let mut lines = Vec::with_capacity(rows.len() * group);
    for row in rows.clone() {
        let slot = dims.position(row);
        let visible = Visible::new(spec, dims.keys, slot, None);
        for (batch, head) in heads_of(dims.shape(), pair) {
            let bias = inputs.bias.map_or(&[][..], |bias| bias.row(batch, head, row, dims.keys));
            let (slope, sink, blocks) = (spec.slope(head), spec.sink_logit(head), spec.blocks_of(head, slot));
            lines.push(Line { visible, blocks, position: slot as f32, slope, sink, bias });
        }
    }
    let (batch, first) = (pair / dims.kv_heads, pair % dims.kv_heads * group);
    let of_line = |line| inputs.query.row(batch, first + line % group, rows.start + line / group, dims.head_dim);
    pack(lines.len(), of_line, dims.head_dim, spec.scale, packed);
    lines
}

/// The (batch, query head) of a pair's group.
pub(super) fn heads_of(shape: Shape, pair: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let (batch, kv_head, group) = (pair / shape.kv_heads, pair % shape.kv_heads, shape.group());
    (kv_head * group..(kv_head + 1) * group).map(move |head| (batch, head))
}

struct Call<'a> {
    spec: &'a AttnSpec,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    /// A part owns its rows of its heads.
    out: RowsOut<'a>,
    lse: Disjoint<'a, f32>,
}

/// Pairs per worker from which on whole pairs are shared out evenly enough.
const PAIRS_EACH: usize = 8;
/// Elements of keys and values that stay in the second cache beside what else a worker needs.
const SMALL: usize = 1 << 18;

impl Call<'_> {
    /// Whether a worker prepares the keys and values of a pair for itself, where they stay in its cache.
    fn pairs_are_small(&self) -> bool {
        let dims = self.dims;
        dims.batch * dims.kv_heads >= PAIRS_EACH * parallel::threads()
            && dims.keys * (dims.head_dim + dims.value_dim) <= SMALL
    }

    /// Brings keys and values into the form of blocks.
    fn prepare<'a>(
        &'a self,
        pairs: Pairs,
        keys: &'a mut Vec<f32>,
        values: &'a mut Vec<f32>,
    ) -> (Transposed<'a>, Readable<'a>) {
        let Self { dims, inputs, .. } = self;
        let keys = Transposed::new(dims, inputs.key, dims.head_dim, pairs, keys);
        (keys, Readable::new(dims, inputs.value, dims.value_dim, pairs, values))
    }

    /// Some query rows of one (batch, key/value head).
    fn run(
        &self,
        (keys, values): &(Transposed<'_>, Readable<'_>),
        pair: usize,
        rows: Range<usize>,
        query: &mut Vec<f32>,
        room: &mut Room,
    ) {
        let Self { spec, dims, inputs, .. } = self;
        let lines = lines_of(spec, dims, inputs, pair, rows.clone(), query);
        let pass = Pass {
            tile: Tile::new(spec, &lines, query, dims.head_dim, None),
            blocks: &Pair { keys, values, pair },
            value_dim: dims.value_dim,
            entropy: false,
            after: None,
        };
        pass.over(splits_of(pass.tile.visible.end, |block| pass.tile.touches(block)), room);
        let width = record_width(dims.value_dim);
        let group = dims.shape().group();
        let (batch, first) = (pair / dims.kv_heads, pair % dims.kv_heads * group);
        let place = |line: usize| (first + line % group, rows.start + line / group);
        finish(&room.total, width, |line| {
            let (head, query) = place(line);
            // SAFETY: the row of this head exists and belongs to this part.
            unsafe { self.out.row(batch, head, query) }
        });
        for (line, record) in room.total.chunks_exact(width).enumerate() {
            let (head, query) = place(line);
            // SAFETY: as above; the length was checked by `forward`.
            unsafe { self.lse.range(dims.row(batch, head, query), 1)[0] = log_sum_exp(record) };
        }
    }
}

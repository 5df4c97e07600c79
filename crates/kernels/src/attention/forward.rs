//! Attention over whole tensors, as training uses it.

use std::ops::Range;

use super::pass::{Pass, SCRATCH, Scratch, record_width, visible_splits};
use super::prepared::{Pair, Readable, Transposed};
use super::rows::Shape;
use super::softmax::{empty_record, finish, log_sum_exp, refill};
use super::spec::AttnSpec;
use super::tile::{LINES, Line, Tile, pack};
use super::view::{Dims, View4};
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

/// Writes `out [batch, heads, queries, value_dim]` and `lse [batch, heads, queries]`, both contiguous.
///
/// A row that sees no key becomes zero, with an `lse` of −∞.
///
/// # Panics
/// If the heads do not divide or a slice has not the length that `dims` states.
pub fn forward(spec: &AttnSpec, dims: &Dims, inputs: &Inputs<'_>, out: &mut [f32], lse: &mut [f32]) {
    let shape = dims.shape();
    shape.check();
    spec.check(dims.heads);
    inputs.check(dims);
    assert_eq!(out.len(), dims.output(), "elements of the output");
    assert_eq!(lse.len(), dims.lse(), "elements of the log-sum-exp");
    let _span = profile::span("attention, forward").work(|| work::of_tensors(spec, dims));
    let step = (LINES / shape.group()).max(1);
    let tiles = dims.queries.div_ceil(step);
    let keys = Transposed::new(dims, inputs.key, dims.head_dim);
    let values = Readable::new(dims, inputs.value, dims.value_dim);
    let call =
        Call { spec, dims, inputs, keys: &keys, values: &values, out: Disjoint::new(out), lse: Disjoint::new(lse) };
    parallel::parts(dims.batch * dims.kv_heads * tiles, |part| {
        // Later tiles may see more keys, so they go first.
        let start = (tiles - 1 - part % tiles) * step;
        let rows = start..(start + step).min(dims.queries);
        SCRATCH.with_borrow_mut(|scratch| call.run(part / tiles, rows, scratch));
    });
}

/// The lines of some query rows of a pair `batch · kv_heads + kv_head`, row by row and head by head, and their scaled queries.
pub(super) fn lines_of<'a>(
    spec: &AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'a>,
    pair: usize,
    rows: Range<usize>,
    packed: &mut Vec<f32>,
) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(rows.len() * dims.shape().group());
    packed.clear();
    for row in rows {
        let slot = dims.position(row);
        let visible = Visible::new(spec, dims.keys, slot, None);
        for (batch, head) in heads_of(dims.shape(), pair) {
            let bias = inputs.bias.map_or(&[][..], |bias| bias.row(batch, head, row, dims.keys));
            lines.push(Line { visible, position: slot as f32, slope: spec.slope(head), bias });
            let query = inputs.query.row(batch, head, row, dims.head_dim);
            pack(packed, query, spec.scale);
        }
    }
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
    keys: &'a Transposed,
    values: &'a Readable<'a>,
    /// A part owns its rows of its heads.
    out: Disjoint<'a, f32>,
    lse: Disjoint<'a, f32>,
}

impl Call<'_> {
    /// Some query rows of one (batch, key/value head).
    fn run(&self, pair: usize, rows: Range<usize>, scratch: &mut Scratch) {
        let Self { spec, dims, inputs, keys, values, .. } = self;
        let Scratch { query, room, .. } = scratch;
        let lines = lines_of(spec, dims, inputs, pair, rows.clone(), query);
        let width = record_width(dims.value_dim);
        refill(&mut room.total, lines.len() * width, 0.0);
        for (record, (_, head)) in room.total.chunks_exact_mut(width).zip(heads_of(dims.shape(), pair).cycle()) {
            empty_record(record, spec.sink_logit(head));
        }
        let pass = Pass {
            tile: Tile::new(spec, &lines, query, dims.head_dim, None),
            blocks: &Pair { keys, values, pair },
            value_dim: dims.value_dim,
            entropy: false,
        };
        pass.over(visible_splits(pass.tile.visible), room);
        let mut records = room.total.chunks_exact(width);
        for query in rows {
            for ((batch, head), record) in heads_of(dims.shape(), pair).zip(&mut records) {
                let row = dims.row(batch, head, query);
                // SAFETY: the row of this head belongs to this part; the lengths were checked by `forward`.
                unsafe {
                    finish(record, self.out.range(row * dims.value_dim, dims.value_dim));
                    self.lse.range(row, 1)[0] = log_sum_exp(record);
                }
            }
        }
    }
}

//! Gradients of attention over whole tensors, with recomputed weights.
//!
//! One pass over pairs of a tile of queries and a block of keys; `gradient.rs` holds the equations, `schedule.rs` who does what.

use std::ops::Range;

use super::forward::{Inputs, heads_of, lines_of};
use super::gradient::{GradientTile, Scratch, zero_rows};
use super::prepared::{Readable, Transposed};
use super::schedule::{BiasGradient, Layout, Unit};
use super::softmax::refill;
use super::source::BLOCK;
use super::spec::AttnSpec;
use super::tile::Tile;
use super::view::{Dims, View4};
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// What the forward pass computed, and the gradients of the loss with respect to it.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The output of [`forward`](super::forward), contiguous.
    pub out: &'a [f32],
    /// The log-sum-exp of [`forward`](super::forward), contiguous.
    pub lse: &'a [f32],
    /// `[batch, heads, queries, value_dim]`.
    pub d_out: View4<'a>,
    /// `[batch, heads, queries]`, if the loss uses the log-sum-exp.
    pub d_lse: Option<&'a [f32]>,
}

/// Gradients of the inputs, contiguous, in the shapes of the inputs.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// `[batch, heads, queries, head_dim]`.
    pub query: Vec<f32>,
    /// `[batch, kv_heads, keys, head_dim]`.
    pub key: Vec<f32>,
    /// `[batch, kv_heads, keys, value_dim]`.
    pub value: Vec<f32>,
    /// `[batch | 1, heads | 1, queries | 1, keys]`, 1 where the bias has stride 0; if asked for.
    pub bias: Option<Vec<f32>>,
    /// One per head, if there are sink logits.
    pub sink_logits: Option<Vec<f32>>,
    /// One per head, if there are ALiBi slopes.
    pub slopes: Option<Vec<f32>>,
}

/// Computes the gradients; that of the bias only with `bias_gradient`.
///
/// # Panics
/// If the heads do not divide or a slice has not the length that `dims` states.
pub fn backward(
    spec: &AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'_>,
    upstream: &Upstream<'_>,
    bias_gradient: bool,
) -> Gradients {
    dims.shape().check();
    spec.check(dims.heads);
    inputs.check(dims);
    upstream.d_out.check("d_out", [dims.batch, dims.heads, dims.queries], dims.value_dim);
    assert_eq!(upstream.out.len(), dims.output(), "elements of the output");
    assert_eq!(upstream.lse.len(), dims.lse(), "elements of the log-sum-exp");
    assert_eq!(upstream.d_lse.map_or(dims.lse(), <[f32]>::len), dims.lse(), "elements of the log-sum-exp's gradient");

    let _span = profile::span("attention, backward").work(|| work::of_gradients(spec, dims));
    let bias = inputs.bias.filter(|_| bias_gradient).map(|bias| BiasGradient::new(dims, bias));
    let layout = Layout::new(dims);
    let mut gradients = Gradients {
        query: vec![0.0; dims.batch * dims.heads * dims.queries * dims.head_dim],
        key: vec![0.0; layout.pairs * dims.keys * dims.head_dim],
        value: vec![0.0; layout.pairs * dims.keys * dims.value_dim],
        bias: bias.as_ref().map(|bias| vec![0.0; bias.length]),
        ..Gradients::default()
    };
    let mut per_head = vec![[0.0; 2]; layout.pairs * layout.tiles * dims.shape().group()];
    let call = Call {
        spec,
        dims,
        inputs,
        upstream,
        keys: &Transposed::new(dims, inputs.key, dims.head_dim),
        key_rows: &Readable::new(dims, inputs.key, dims.head_dim),
        values: &Transposed::new(dims, inputs.value, dims.value_dim),
        layout,
        bias: bias.as_ref(),
        d_query: Disjoint::new(&mut gradients.query),
        d_key: Disjoint::new(&mut gradients.key),
        d_value: Disjoint::new(&mut gradients.value),
        d_bias: Disjoint::new(gradients.bias.as_deref_mut().unwrap_or(&mut [])),
        per_head: Disjoint::new(&mut per_head),
    };
    let parts = layout.parts(dims, bias.as_ref());
    parallel::parts(parts.len(), |part| {
        for unit in &parts[part] {
            SCRATCH.with_borrow_mut(|scratch| dispatch(RunUnit { call: &call, unit, scratch }));
        }
    });
    let sum = |which: usize| {
        let mut total = vec![0.0; dims.heads];
        for (i, values) in per_head.iter().enumerate() {
            let (pair, group) = (i / (layout.tiles * dims.shape().group()), dims.shape().group());
            total[pair % dims.kv_heads * group + i % group] += f64::from(values[which]);
        }
        total.into_iter().map(|value| value as f32).collect()
    };
    gradients.slopes = spec.alibi.as_ref().map(|_| sum(SLOPE));
    gradients.sink_logits = spec.sink_logits.as_ref().map(|_| sum(SINK));
    gradients
}

/// Places in the gradients per head.
const SLOPE: usize = 0;
const SINK: usize = 1;

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

struct Call<'a> {
    spec: &'a AttnSpec,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    upstream: &'a Upstream<'a>,
    keys: &'a Transposed,
    key_rows: &'a Readable<'a>,
    values: &'a Transposed,
    layout: Layout,
    bias: Option<&'a BiasGradient>,
    /// A unit with `queries` owns the rows of its tiles; one with `keys` those of its blocks.
    d_query: Disjoint<'a, f32>,
    d_key: Disjoint<'a, f32>,
    d_value: Disjoint<'a, f32>,
    /// A part owns the elements that its pairs share.
    d_bias: Disjoint<'a, f32>,
    /// Gradients of slope and sink logit, `[pairs, tiles, group]`; owned as `d_query`.
    per_head: Disjoint<'a, [f32; 2]>,
}

/// One unit on one worker.
struct RunUnit<'a> {
    call: &'a Call<'a>,
    unit: &'a Unit,
    scratch: &'a mut Scratch,
}

impl Kernel for RunUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { call, unit, scratch } = self;
        let dims = call.dims;
        if unit.keys {
            zero_rows(&mut scratch.d_key, unit.blocks.len() * BLOCK, dims.head_dim);
            zero_rows(&mut scratch.d_value, unit.blocks.len() * BLOCK, dims.value_dim);
        }
        for tile in unit.tiles.clone() {
            call.tile(s, unit, tile, scratch);
        }
        if unit.keys {
            let start = unit.blocks.start * BLOCK;
            let rows = unit.pair * dims.keys + start..unit.pair * dims.keys + dims.keys.min(unit.blocks.end * BLOCK);
            copy_rows(&scratch.d_key, rows.clone(), dims.head_dim, &call.d_key);
            copy_rows(&scratch.d_value, rows, dims.value_dim, &call.d_value);
        }
    }
}

/// Copies padded rows to the rows `rows` of a gradient, which belong to the caller's unit.
fn copy_rows(padded: &[f32], rows: Range<usize>, width: usize, to: &Disjoint<'_, f32>) {
    for (row, padded) in rows.zip(padded.chunks_exact(width.next_multiple_of(LANES))) {
        // SAFETY: the rows belong to the unit and exist in the gradient, whose length follows from the same sizes.
        unsafe { to.range(row * width, width) }.copy_from_slice(&padded[..width]);
    }
}

impl Call<'_> {
    /// Adds the gradients of one tile with the unit's blocks.
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, unit: &Unit, tile: usize, scratch: &mut Scratch) {
        let Self { dims, layout, .. } = self;
        let rows = tile * layout.rows..((tile + 1) * layout.rows).min(dims.queries);
        let Scratch { query, d_out, d_query, lse, delta, d_slope, d_key, d_value, block: made } = scratch;
        let lines = lines_of(self.spec, dims, self.inputs, unit.pair, rows.clone(), query);
        self.read_upstream(unit.pair, rows.clone(), d_out, lse, delta);
        zero_rows(d_query, lines.len(), dims.head_dim);
        refill(d_slope, lines.len(), 0.0);
        let tile_of_lines = Tile::new(self.spec, &lines, query, dims.head_dim, None);
        let work = GradientTile { tile: tile_of_lines, d_out, lse, delta, value_dim: dims.value_dim };
        for block in unit.blocks.clone().filter(|&block| work.tile.visible.touches(block)) {
            let lines = work.lines(block);
            let (keys, values) = (self.keys.block(unit.pair, block), self.values.block(unit.pair, block));
            work.differentiate(s, lines.clone(), block, keys, values, made);
            if unit.queries {
                if self.spec.alibi.is_some() {
                    work.add_slopes(s, lines.clone(), block, made, d_slope);
                }
                self.add_bias(unit.pair, &rows, lines.clone(), block, &made.d_scores);
            }
            work.uncap(s, lines.clone(), made);
            if unit.keys {
                let at = (block - unit.blocks.start) * BLOCK;
                let padded = |width: usize| at * width.next_multiple_of(LANES);
                let (d_key, d_value) = (&mut d_key[padded(dims.head_dim)..], &mut d_value[padded(dims.value_dim)..]);
                work.add_to_keys(s, lines.clone(), made, d_key, d_value);
            }
            if unit.queries {
                work.add_to_queries(s, lines, block, made, self.key_rows.block(unit.pair, block), d_query);
            }
        }
        if unit.queries {
            self.write_queries(unit.pair, tile, rows, d_query, lse, delta, d_slope);
        }
    }

    /// The upstream gradients of a tile's lines, their log-sum-exp, and `D_i = Σ_c dO_ic O_ic - dlse_i`.
    #[inline(always)]
    fn read_upstream(
        &self,
        pair: usize,
        rows: Range<usize>,
        d_out: &mut Vec<f32>,
        lse: &mut Vec<f32>,
        delta: &mut Vec<f32>,
    ) {
        let (dims, upstream) = (self.dims, self.upstream);
        let (width, stride) = (dims.value_dim, dims.value_dim.next_multiple_of(LANES));
        d_out.clear();
        lse.clear();
        delta.clear();
        for query in rows {
            for (batch, head) in heads_of(dims.shape(), pair) {
                let row = dims.row(batch, head, query);
                let gradient = upstream.d_out.row(batch, head, query, width);
                d_out.extend_from_slice(gradient);
                d_out.resize(d_out.len().next_multiple_of(stride), 0.0);
                let product: f32 = gradient.iter().zip(&upstream.out[row * width..]).map(|(d, o)| d * o).sum();
                lse.push(upstream.lse[row]);
                delta.push(product - upstream.d_lse.map_or(0.0, |d_lse| d_lse[row]));
            }
        }
    }

    /// Adds `ds` of the lines to the gradient of the bias.
    #[inline(always)]
    fn add_bias(&self, pair: usize, rows: &Range<usize>, lines: Range<usize>, block: usize, d_scores: &[f32]) {
        let Some(bias) = self.bias else { return };
        let group = self.dims.shape().group();
        let count = BLOCK.min(self.dims.keys - block * BLOCK);
        for line in lines {
            let head = pair % self.dims.kv_heads * group + line % group;
            let start = bias.at(pair / self.dims.kv_heads, head, rows.start + line / group) + block * BLOCK;
            // SAFETY: pairs that share these elements run in this part, one after the other.
            let out = unsafe { self.d_bias.range(start, count) };
            for (out, d_score) in out.iter_mut().zip(&d_scores[line * BLOCK..]) {
                *out += d_score;
            }
        }
    }

    /// Writes what belongs to a tile: the gradients of its queries, and its share of those of slopes and sink logits.
    #[inline(always)]
    fn write_queries(
        &self,
        pair: usize,
        tile: usize,
        rows: Range<usize>,
        d_query: &[f32],
        lse: &[f32],
        delta: &[f32],
        d_slope: &[f32],
    ) {
        let dims = self.dims;
        let (width, group) = (dims.head_dim, dims.shape().group());
        let stride = width.next_multiple_of(LANES);
        // SAFETY: the tile and its rows belong to this unit.
        let per_head = unsafe { self.per_head.range((pair * self.layout.tiles + tile) * group, group) };
        let heads = rows.flat_map(|query| heads_of(dims.shape(), pair).map(move |(batch, head)| (query, batch, head)));
        for (line, (query, batch, head)) in heads.enumerate() {
            // SAFETY: as above.
            let out = unsafe { self.d_query.range(dims.row(batch, head, query) * width, width) };
            for (out, value) in out.iter_mut().zip(&d_query[line * stride..]) {
                *out = value * self.spec.scale;
            }
            per_head[line % group][SLOPE] += d_slope[line];
            if self.spec.sink_logits.is_some() {
                per_head[line % group][SINK] -= (self.spec.sink_logit(head) - lse[line]).exp() * delta[line];
            }
        }
    }
}

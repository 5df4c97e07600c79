//! Gradients of attention over whole tensors, with recomputed weights.
//!
//! One pass over pairs of a tile of queries and a block of keys; `gradient.rs` holds the equations, `schedule.rs` who does what.

use std::ops::Range;

use super::forward::{Inputs, heads_of, lines_of};
use super::gradient::{GradientTile, Scratch, TileScratch, zero_rows};
use super::prepared::{Pairs, Readable, Transposed};
use super::schedule::{BiasGradient, Layout, Unit};
use super::softmax::{fit, refill};
use super::source::BLOCK;
use super::spec::AttnSpec;
use super::tensors::{InputGradients, ScoreGradients, Upstream};
use super::tile::Tile;
use super::view::{Dims, RowsOut};
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Writes `gradients` and returns those of the scores' parameters; that of the bias only with `bias_gradient`.
///
/// # Panics
/// If the heads do not divide or a slice has not the length that `dims` states.
pub fn backward(
    spec: &AttnSpec,
    dims: &Dims,
    inputs: &Inputs<'_>,
    upstream: &Upstream<'_>,
    gradients: InputGradients<'_>,
    bias_gradient: bool,
) -> ScoreGradients {
    dims.shape().check();
    spec.check(dims.heads);
    inputs.check(dims);
    upstream.d_out.check("d_out", [dims.batch, dims.heads, dims.queries], dims.value_dim);
    upstream.out.check("out", [dims.batch, dims.heads, dims.queries], dims.value_dim);
    assert_eq!(upstream.lse.len(), dims.lse(), "elements of the log-sum-exp");
    assert_eq!(upstream.d_lse.map_or(dims.lse(), <[f32]>::len), dims.lse(), "elements of the log-sum-exp's gradient");

    let _span = profile::span("attention, backward").work(|| work::of_gradients(spec, dims));
    let bias = inputs.bias.filter(|_| bias_gradient).map(|bias| BiasGradient::new(dims, bias));
    let layout = Layout::new(dims, bias.is_some());
    let (queries, keys) = ([dims.batch, dims.heads, dims.queries], [dims.batch, dims.kv_heads, dims.keys]);
    let mut d_bias = bias.as_ref().map(|bias| vec![0.0; bias.length]);
    let mut per_head = vec![[0.0; 2]; layout.pairs * layout.tiles * dims.shape().group()];
    let mut rooms = Default::default();
    let call = Call {
        spec,
        dims,
        inputs,
        upstream,
        prepared: layout.cut.then(|| Prepared::new(dims, inputs, Pairs::All, &mut rooms)),
        layout,
        bias: bias.as_ref(),
        d_query: gradients.query.share("the queries' gradient", queries, dims.head_dim),
        d_key: gradients.key.share("the keys' gradient", keys, dims.head_dim),
        d_value: gradients.value.share("the values' gradient", keys, dims.value_dim),
        d_bias: Disjoint::new(d_bias.as_deref_mut().unwrap_or(&mut [])),
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
    let slopes = spec.alibi.as_ref().map(|_| sum(SLOPE));
    let sink_logits = spec.sink_logits.as_ref().map(|_| sum(SINK));
    ScoreGradients { bias: d_bias, sink_logits, slopes }
}

/// Places in the gradients per head.
const SLOPE: usize = 0;
const SINK: usize = 1;

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// Keys and values in the forms that the products take.
struct Prepared<'a> {
    keys: Transposed<'a>,
    key_rows: Readable<'a>,
    values: Transposed<'a>,
}

impl<'a> Prepared<'a> {
    fn new(dims: &Dims, inputs: &Inputs<'a>, pairs: Pairs, [keys, rows, values]: &'a mut [Vec<f32>; 3]) -> Self {
        Self {
            keys: Transposed::new(dims, inputs.key, dims.head_dim, pairs, keys),
            key_rows: Readable::new(dims, inputs.key, dims.head_dim, pairs, rows),
            values: Transposed::new(dims, inputs.value, dims.value_dim, pairs, values),
        }
    }
}

struct Call<'a> {
    spec: &'a AttnSpec,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    upstream: &'a Upstream<'a>,
    /// All keys and values, if pairs are cut; else a unit prepares those of its pair, which then stay in its cache.
    prepared: Option<Prepared<'a>>,
    layout: Layout,
    bias: Option<&'a BiasGradient>,
    /// A unit with `queries` owns the rows of its tiles; one with `keys` those of its blocks.
    d_query: RowsOut<'a>,
    d_key: RowsOut<'a>,
    d_value: RowsOut<'a>,
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
        let Self { call, unit, scratch: Scratch { prepared: rooms, tile: scratch } } = self;
        let dims = call.dims;
        let of_pair;
        let prepared = match &call.prepared {
            Some(all) => all,
            None => {
                of_pair = Prepared::new(dims, call.inputs, Pairs::One(unit.pair), rooms);
                &of_pair
            }
        };
        if unit.keys {
            zero_rows(&mut scratch.d_key, unit.blocks.len() * BLOCK, dims.head_dim);
            zero_rows(&mut scratch.d_value, unit.blocks.len() * BLOCK, dims.value_dim);
        }
        for tile in unit.tiles.clone() {
            call.tile(s, unit, tile, prepared, scratch);
        }
        if unit.keys {
            let rows = unit.blocks.start * BLOCK..dims.keys.min(unit.blocks.end * BLOCK);
            let pair = (unit.pair / dims.kv_heads, unit.pair % dims.kv_heads);
            copy_rows(s, &scratch.d_key, pair, rows.clone(), dims.head_dim, &call.d_key);
            copy_rows(s, &scratch.d_value, pair, rows, dims.value_dim, &call.d_value);
        }
    }
}

/// Copies padded rows to the rows `rows` of a pair's gradient, which belong to the caller's unit.
#[inline(always)]
fn copy_rows<S: Simd>(
    s: S,
    padded: &[f32],
    (batch, head): (usize, usize),
    rows: Range<usize>,
    width: usize,
    to: &RowsOut<'_>,
) {
    for (row, padded) in rows.zip(padded.chunks_exact(width.next_multiple_of(LANES))) {
        // SAFETY: the rows exist and belong to the unit.
        let out = unsafe { to.row(batch, head, row) };
        for at in (0..width).step_by(LANES) {
            s.write(out, at, s.read(padded, at, 0.0));
        }
    }
}

impl Call<'_> {
    /// Adds the gradients of one tile with the unit's blocks.
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, unit: &Unit, tile: usize, prepared: &Prepared<'_>, scratch: &mut TileScratch) {
        let Self { dims, layout, .. } = self;
        let rows = tile * layout.rows..((tile + 1) * layout.rows).min(dims.queries);
        let TileScratch { query, d_out, d_query, lse, delta, d_slope, d_key, d_value, block: made } = scratch;
        let lines = lines_of(self.spec, dims, self.inputs, unit.pair, rows.clone(), query);
        self.read_upstream(s, unit.pair, rows.clone(), d_out, lse, delta);
        zero_rows(d_query, lines.len(), dims.head_dim);
        refill(d_slope, lines.len(), 0.0);
        let tile_of_lines = Tile::new(self.spec, &lines, query, dims.head_dim, None);
        let work = GradientTile { tile: tile_of_lines, d_out, lse, delta, value_dim: dims.value_dim };
        for block in unit.blocks.clone().filter(|&block| work.tile.touches(block)) {
            let lines = work.lines(block);
            let (keys, values) = (prepared.keys.block(unit.pair, block), prepared.values.block(unit.pair, block));
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
                work.add_to_queries(s, lines, block, made, prepared.key_rows.block(unit.pair, block), d_query);
            }
        }
        if unit.queries {
            self.write_queries(s, unit.pair, tile, rows, d_query, lse, delta, d_slope);
        }
    }

    /// The upstream gradients of a tile's lines, their log-sum-exp, and `D_i = Σ_c dO_ic O_ic - dlse_i`.
    #[inline(always)]
    fn read_upstream<S: Simd>(
        &self,
        s: S,
        pair: usize,
        rows: Range<usize>,
        d_out: &mut Vec<f32>,
        lse: &mut Vec<f32>,
        delta: &mut Vec<f32>,
    ) {
        let (dims, upstream) = (self.dims, self.upstream);
        let (width, stride) = (dims.value_dim, dims.value_dim.next_multiple_of(LANES));
        let places = rows.flat_map(|query| heads_of(dims.shape(), pair).map(move |(batch, head)| (batch, head, query)));
        let lines = places.clone().count();
        fit(d_out, lines * stride);
        lse.clear();
        delta.clear();
        for ((batch, head, query), d_out) in places.zip(d_out.chunks_exact_mut(stride)) {
            let gradient = upstream.d_out.row(batch, head, query, width);
            let out = upstream.out.row(batch, head, query, width);
            let mut product = s.zero();
            for at in (0..width).step_by(LANES) {
                let vector = s.read(gradient, at, 0.0);
                product = s.fma(vector, s.read(out, at, 0.0), product);
                // SAFETY: rows are whole vectors long.
                unsafe { s.store(d_out, at, vector) };
            }
            let row = dims.row(batch, head, query);
            lse.push(upstream.lse[row]);
            delta.push(s.sum(product) - upstream.d_lse.map_or(0.0, |d_lse| d_lse[row]));
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
    fn write_queries<S: Simd>(
        &self,
        s: S,
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
            let out = unsafe { self.d_query.row(batch, head, query) };
            for at in (0..width).step_by(LANES) {
                s.write(out, at, s.mul(s.read(d_query, line * stride + at, 0.0), s.splat(self.spec.scale)));
            }
            per_head[line % group][SLOPE] += d_slope[line];
            if self.spec.sink_logits.is_some() {
                per_head[line % group][SINK] -= (self.spec.sink_logit(head) - lse[line]).exp() * delta[line];
            }
        }
    }
}

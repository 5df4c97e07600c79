//! Attention of rows to several stores, each at a place of its own.

use headwise_kernels::attention::{self as kernel, AttnSpec, Rows, RowsMut, Segment, Shape, Stats, StatsOut};
use headwise_kernels::kv::KeyValues;
use headwise_kernels::parallel;
use headwise_kernels::rope::{HeadLayout, Rope};
use headwise_kernels::simd::{Kernel, Simd, dispatch};

/// How a layer attends.
#[derive(Clone, Copy)]
pub(crate) struct LayerAttention<'a> {
    pub spec: &'a AttnSpec,
    pub rope: Option<&'a Rope>,
    pub shape: Shape,
}

/// Queries as the projection gives them, `[rows, heads · head_dim]`, and where they stand.
#[derive(Clone, Copy)]
pub(crate) struct RawQueries<'a> {
    pub rows: &'a [f32],
    pub positions: &'a [i32],
}

/// Pairs of which every row sees all, their keys rotated by their places in the store.
pub(super) struct Target<'a> {
    /// Of every key-value head.
    pub heads: &'a [KeyValues],
    /// The position of place zero: for every row and head, for every head, or one for all.
    pub starts: Vec<i32>,
}

/// Query rows, once for every store, that are attended to by one call.
const ROWS: usize = 4096;
/// Fewest rows of a piece.
const LEAST: usize = 64;

/// Rows of which each piece takes no more room than the copies of [`ROWS`], if they attend to `targets` stores.
pub(super) fn piece(targets: usize) -> usize {
    (ROWS / targets.max(1)).max(LEAST)
}

impl LayerAttention<'_> {
    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.shape.heads * self.shape.head_dim
    }

    /// Adds to `out` `[rows, heads · head_dim]`, which rows got elsewhere with the log-sum-exp `lse` `[rows, heads]`, what `targets` give.
    pub(super) fn join(&self, queries: RawQueries<'_>, targets: &[Target<'_>], lse: &[f32], out: &mut [f32]) {
        let head_dim = self.shape.head_dim;
        let distances: Vec<i32> = targets.iter().flat_map(|target| self.distances(queries, target)).collect();
        let mut turned = queries.rows.repeat(targets.len());
        if let Some(rope) = self.rope {
            rope.rotate(&mut turned, HeadLayout { row_stride: head_dim, heads: 1, head_dim }, &distances);
        }
        let stores = targets.iter().map(|target| target.heads);
        let parts = match self.spec.window {
            None => self.attend(&turned, queries.positions.len(), stores, head_dim),
            Some(window) => self.attend_near(window, &turned, &distances, stores),
        };
        let together = 1024;
        parallel::pieces(out, together * head_dim, |index, out| {
            dispatch(Join { parts: &parts, first: index * together, lse, head_dim, out });
        });
    }

    /// How far every line, row and head, stands from place zero of `target`.
    fn distances(&self, queries: RawQueries<'_>, target: &Target<'_>) -> impl Iterator<Item = i32> {
        let heads = self.shape.heads;
        let positions = queries.positions.iter().flat_map(move |position| std::iter::repeat_n(position, heads));
        positions.zip(target.starts.iter().cycle()).map(|(position, start)| position - start)
    }

    /// The log-sum-exp `[stores, rows, heads]` of the scores of raw `queries` with unrotated keys, whose values have `value_dim` channels.
    pub fn without_positions<'a>(
        &self,
        queries: &[f32],
        stores: impl ExactSizeIterator<Item = &'a [KeyValues]>,
        value_dim: usize,
    ) -> Vec<f32> {
        let repeated = queries.repeat(stores.len());
        self.attend(&repeated, queries.len() / self.width(), stores, value_dim).lse
    }

    /// What `rows` rows of queries get of each of `stores`; `queries` are `[stores, rows, heads · head_dim]`.
    pub(super) fn attend<'a>(
        &self,
        queries: &[f32],
        rows: usize,
        stores: impl Iterator<Item = &'a [KeyValues]>,
        value_dim: usize,
    ) -> Parts {
        let want = Stats { lse: true, ..Stats::default() };
        let spec = AttnSpec { scale: self.spec.scale, softcap: self.spec.softcap, want, ..AttnSpec::default() };
        let segment = |(index, heads)| Segment { rows: index * rows..(index + 1) * rows, heads };
        let segments: Vec<Segment<'_, KeyValues>> = stores.enumerate().map(segment).collect();
        let width = self.shape.heads * value_dim;
        let mut out = vec![0.0; segments.len() * rows * width];
        let mut stats = StatsOut::default();
        let (query, shape) = (Rows { data: queries, stride: self.width() }, Shape { value_dim, ..self.shape });
        kernel::attend(&spec, shape, query, &segments, RowsMut { data: &mut out, stride: width }, &mut stats);
        Parts { out, lse: stats.lse }
    }
}

/// What lines, rows and heads, got of several stores.
pub(super) struct Parts {
    /// `[stores, lines, head_dim]`
    pub out: Vec<f32>,
    /// `[stores, lines]`
    pub lse: Vec<f32>,
}

/// Joins parts to the lines from `first` on: `o = Σ_i o_i e^{lse_i} / Σ_i e^{lse_i}`.
struct Join<'a> {
    parts: &'a Parts,
    first: usize,
    /// Of what the lines have got elsewhere.
    lse: &'a [f32],
    head_dim: usize,
    out: &'a mut [f32],
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { parts, first, lse, head_dim, out } = self;
        let lines = lse.len();
        let stores = parts.lse.len() / lines;
        for (offset, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let line = first + offset;
            let part = |store: usize| parts.lse[store * lines + line];
            let most = (0..stores).map(part).fold(lse[line], f32::max);
            if most == f32::NEG_INFINITY {
                continue;
            }
            let own = (lse[line] - most).exp();
            let total = (0..stores).fold(own, |total, store| total + (part(store) - most).exp());
            out.iter_mut().for_each(|x| *x *= own / total);
            for store in 0..stores {
                let weight = (part(store) - most).exp() / total;
                let added = &parts.out[(store * lines + line) * head_dim..][..head_dim];
                out.iter_mut().zip(added).for_each(|(x, added)| *x += weight * added);
            }
        }
    }
}

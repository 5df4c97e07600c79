//! Query rows that are worked on together, and the scores of some of them with one block of keys.

use std::ops::Range;

use super::block_mask::BlockRow;
use super::softmax::fit;
use super::source::BLOCK;
use super::spec::AttnSpec;
use super::visible::Visible;
use crate::product::{Columns, Factors, Output, ROWS, Size, Start, multiply_to};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Lines worked on between two decodings of a block: many, so that decoding costs little.
pub(super) const LINES: usize = 96;

/// One query row of one head.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub visible: Visible,
    /// The blocks that a mask leaves.
    pub blocks: BlockRow<'a>,
    /// Text position, for ALiBi.
    pub position: f32,
    /// ALiBi slope.
    pub slope: f32,
    /// Sink logit, −∞ without one.
    pub sink: f32,
    /// What is added to the score of each key; may be empty.
    pub bias: &'a [f32],
}

impl Line<'_> {
    /// Whether every column of `block` is visible.
    #[inline(always)]
    pub fn covers(&self, block: usize) -> bool {
        self.visible.covers(block) && self.blocks.sees(block)
    }
}

/// Packs the queries of a tile: those of `lines` lines, times `scale`, in rows of whole vectors.
pub(super) fn pack<'a>(
    lines: usize,
    query: impl Fn(usize) -> &'a [f32],
    head_dim: usize,
    scale: f32,
    out: &mut Vec<f32>,
) {
    let stride = head_dim.next_multiple_of(LANES);
    fit(out, lines * stride);
    dispatch(Pack { query, stride, scale, out });
}

struct Pack<'a, Q> {
    query: Q,
    stride: usize,
    scale: f32,
    out: &'a mut [f32],
}

impl<'a, Q: Fn(usize) -> &'a [f32]> Kernel for Pack<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        for (line, out) in self.out.chunks_exact_mut(self.stride).enumerate() {
            let query = (self.query)(line);
            for at in (0..self.stride).step_by(LANES) {
                // SAFETY: rows are whole vectors long.
                unsafe { s.store(out, at, s.mul(s.read(query, at, 0.0), scale)) };
            }
        }
    }
}

/// Lines that share keys and values.
pub(super) struct Tile<'a> {
    pub lines: &'a [Line<'a>],
    /// The scaled queries `[lines, head_dim]`, rows padded to whole vectors.
    pub query: &'a [f32],
    pub head_dim: usize,
    pub softcap: Option<f32>,
    /// Whether the lines have slopes.
    pub alibi: bool,
    /// Whether the lines have sink logits.
    pub sinks: bool,
    /// Text positions of the slots.
    pub positions: Option<&'a [i32]>,
    /// What any line sees, but for the mask of blocks.
    pub visible: Visible,
    /// The same of each [`ROWS`] lines.
    strips: Vec<Visible>,
    /// Whether there is a mask of blocks.
    masked: bool,
}

impl<'a> Tile<'a> {
    /// A tile of at least one line.
    pub fn new(
        spec: &AttnSpec,
        lines: &'a [Line<'a>],
        query: &'a [f32],
        head_dim: usize,
        positions: Option<&'a [i32]>,
    ) -> Self {
        let hull = |lines: &[Line<'_>]| lines[1..].iter().fold(lines[0].visible, |hull, line| hull.union(line.visible));
        Self {
            lines,
            query,
            head_dim,
            softcap: spec.softcap,
            alibi: spec.alibi.is_some(),
            sinks: spec.sink_logits.is_some(),
            positions,
            visible: hull(lines),
            strips: lines.chunks(ROWS).map(hull).collect(),
            masked: spec.blocks.is_some(),
        }
    }

    /// Whether any line sees something of `block`.
    #[inline(always)]
    pub fn touches(&self, block: usize) -> bool {
        self.visible.touches(block) && self.unmasked(self.lines, block)
    }

    /// The first line of each strip of at most [`ROWS`] lines, and the smallest range of columns of `block` that holds every
    /// one that it sees; strips that see none are left out.
    #[inline(always)]
    pub fn strips(&self, block: usize) -> impl DoubleEndedIterator<Item = (usize, Range<usize>)> {
        let columns = move |(index, strip): (usize, &Visible)| (index * ROWS, strip.columns(block));
        let seen = move |(first, columns): &(usize, Range<usize>)| {
            let lines = &self.lines[*first..(*first + ROWS).min(self.lines.len())];
            !columns.is_empty() && self.unmasked(lines, block)
        };
        self.strips.iter().enumerate().map(columns).filter(seen)
    }

    /// Whether the mask leaves `block` to any of `lines`.
    #[inline(always)]
    fn unmasked(&self, lines: &[Line<'_>], block: usize) -> bool {
        !self.masked || lines.iter().any(|line| line.blocks.sees(block))
    }

    /// Scores of the lines `first..first + rows` with a block, `[rows, BLOCK]`; −∞ where a key is not visible.
    ///
    /// `capped` receives the scores as they are after the soft cap, for the backward pass.
    #[inline(always)]
    pub fn scores<S: Simd>(
        &self,
        s: S,
        lines: Range<usize>,
        block: usize,
        keys: impl Columns,
        out: &mut [f32],
        capped: Option<&mut [f32]>,
    ) {
        #[cfg(test)]
        super::visits::note(lines.len());
        let size = Size { rows: lines.len(), vectors: BLOCK / LANES, steps: self.head_dim };
        let stride = self.head_dim.next_multiple_of(LANES);
        let a = Factors { data: &self.query[lines.start * stride..], row_stride: stride, step_stride: 1 };
        multiply_to(s, size, a, keys, Start::Zero, &mut Finite(out));
        if let Some(cap) = self.softcap {
            for scores in out.chunks_exact_mut(BLOCK).take(size.rows) {
                cap_scores(s, cap, scores);
            }
        }
        if let Some(capped) = capped {
            capped[..size.rows * BLOCK].copy_from_slice(&out[..size.rows * BLOCK]);
        }
        for (line, scores) in self.lines[lines].iter().zip(out.chunks_exact_mut(BLOCK)) {
            if self.alibi {
                add_distance(s, line, self.positions, block, scores);
            }
            if !line.bias.is_empty() {
                add_bias(s, line.bias, block, scores);
            }
            if !line.covers(block) {
                mask(s, line, block, scores);
            }
        }
    }
}

/// Scores `[rows, BLOCK]` as they leave the product: those that overflowed become the largest number, so that their
/// differences exist.
struct Finite<'a>(&'a mut [f32]);

impl Output for Finite<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: usize, column: usize) -> S::F {
        // SAFETY: the caller keeps to columns that exist.
        unsafe { s.load(self.0, row * BLOCK + column) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&mut self, s: S, row: usize, column: usize, scores: S::F) {
        // SAFETY: the caller keeps to columns that exist.
        unsafe { store_finite(s, self.0, row * BLOCK + column, scores) };
    }
}

/// Stores scores of which none is above the largest number.
///
/// # Safety
/// Sixteen elements from `at` on must exist.
#[inline(always)]
unsafe fn store_finite<S: Simd>(s: S, out: &mut [f32], at: usize, scores: S::F) {
    // SAFETY: the caller's elements exist.
    unsafe { s.store(out, at, s.min(scores, s.splat(f32::MAX))) };
}

/// Where the vectors of a block start.
#[inline(always)]
fn starts() -> impl Iterator<Item = usize> {
    (0..BLOCK).step_by(LANES)
}

/// The lane numbers `0, 1, …, 15`.
#[inline(always)]
fn lane_numbers<S: Simd>(s: S) -> S::F {
    s.from_array([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.])
}

/// `s = cap · tanh(s / cap)`
#[inline(always)]
fn cap_scores<S: Simd>(s: S, cap: f32, scores: &mut [f32]) {
    let (cap, inverse) = (s.splat(cap), s.splat(1.0 / cap));
    for at in starts() {
        // SAFETY: the scores are a block of `BLOCK`.
        unsafe {
            let score = s.load(scores, at);
            s.store(scores, at, s.mul(cap, s.tanh(s.mul(score, inverse))));
        }
    }
}

/// Adds `-slope · |p_i - p_j|`.
#[inline(always)]
fn add_distance<S: Simd>(s: S, line: &Line<'_>, positions: Option<&[i32]>, block: usize, scores: &mut [f32]) {
    let (slope, position) = (s.splat(-line.slope), s.splat(line.position));
    for at in starts() {
        let distance = s.abs(s.sub(position, key_positions(s, positions, block * BLOCK + at)));
        // SAFETY: the scores are a block of `BLOCK`.
        unsafe { store_finite(s, scores, at, s.fma(slope, distance, s.load(scores, at))) };
    }
}

/// The text positions of sixteen slots from `start` on; 0 past the end.
#[inline(always)]
pub(super) fn key_positions<S: Simd>(s: S, positions: Option<&[i32]>, start: usize) -> S::F {
    let Some(positions) = positions else {
        return s.add(s.splat(start as f32), lane_numbers(s));
    };
    let mut lanes = [0.0; LANES];
    for (lane, &position) in lanes.iter_mut().zip(&positions[start.min(positions.len())..]) {
        *lane = position as f32;
    }
    s.from_array(lanes)
}

/// Adds the bias of the block's keys.
#[inline(always)]
fn add_bias<S: Simd>(s: S, bias: &[f32], block: usize, scores: &mut [f32]) {
    for at in starts() {
        let bias = s.load_partial(&bias[(block * BLOCK + at).min(bias.len())..], 0.0);
        // SAFETY: the scores are a block of `BLOCK`.
        unsafe { store_finite(s, scores, at, s.add(s.load(scores, at), bias)) };
    }
}

/// Sets invisible scores to −∞.
#[inline(always)]
fn mask<S: Simd>(s: S, line: &Line<'_>, block: usize, scores: &mut [f32]) {
    if !line.blocks.sees(block) {
        scores.fill(f32::NEG_INFINITY);
        return;
    }
    let visible = &line.visible;
    let start = block * BLOCK;
    let first = s.splat(visible.first.saturating_sub(start).min(BLOCK) as f32);
    let begin = s.splat(visible.begin.saturating_sub(start).min(BLOCK) as f32);
    let end = s.splat(visible.end.saturating_sub(start).min(BLOCK) as f32);
    let never = s.splat(f32::NEG_INFINITY);
    for at in starts() {
        let column = s.add(s.splat(at as f32), lane_numbers(s));
        // SAFETY: the scores are a block of `BLOCK`.
        unsafe {
            let score = s.load(scores, at);
            let early = s.select_less(column, first, score, never);
            let score = s.select_less(column, begin, early, s.select_less(column, end, score, never));
            s.store(scores, at, score);
        }
    }
}

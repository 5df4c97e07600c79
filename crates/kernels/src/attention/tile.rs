//! Query rows that are worked on together, and the scores of some of them with one block of keys.

use super::product::{Factors, Size, Start, Vectors, multiply};
use super::source::BLOCK;
use super::visible::Visible;
use crate::simd::{LANES, Simd};

/// Lines worked on between two decodings of a block: many, so that decoding costs little.
pub(super) const LINES: usize = 96;

/// One query row of one head.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub visible: Visible,
    /// Text position, for ALiBi.
    pub position: f32,
    /// ALiBi slope.
    pub slope: f32,
    /// What is added to the score of each key; may be empty.
    pub bias: &'a [f32],
}

/// Lines that share keys and values.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub lines: &'a [Line<'a>],
    /// The scaled queries `[lines, head_dim]`.
    pub query: &'a [f32],
    pub head_dim: usize,
    pub softcap: Option<f32>,
    /// Text positions of the slots.
    pub positions: Option<&'a [i32]>,
    /// Whether the lines have slopes.
    pub alibi: bool,
}

impl<'a> Tile<'a> {
    /// What the lines see together.
    pub fn visible(&self) -> Visible {
        hull(self.lines)
    }

    /// Scores of the lines `first..first + rows` with a block, `[rows, BLOCK]`; −∞ where a key is not visible.
    ///
    /// `capped` receives the scores as they are after the soft cap, for the backward pass.
    #[inline(always)]
    pub fn scores<S: Simd>(
        &self,
        s: S,
        lines: std::ops::Range<usize>,
        block: usize,
        keys: &[f32],
        out: &mut [f32],
        capped: Option<&mut [f32]>,
    ) {
        let size = Size { rows: lines.len(), vectors: BLOCK / LANES, steps: self.head_dim };
        let query = &self.query[lines.start * self.head_dim..];
        let a = Factors { data: query, row_stride: self.head_dim, step_stride: 1 };
        multiply(s, size, a, Vectors { data: keys, stride: BLOCK }, Start::Zero, out, BLOCK);
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
            mask(s, &line.visible, block, scores);
        }
    }
}

/// What any of the lines sees.
#[inline(always)]
pub(super) fn hull(lines: &[Line<'_>]) -> Visible {
    let mut all = lines[0].visible;
    for line in &lines[1..] {
        all = all.union(line.visible);
    }
    all
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
        unsafe { s.store(scores, at, s.fma(slope, distance, s.load(scores, at))) };
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
        unsafe { s.store(scores, at, s.add(s.load(scores, at), bias)) };
    }
}

/// Sets invisible scores to −∞, and those that overflowed to the largest number, so that their differences exist.
#[inline(always)]
fn mask<S: Simd>(s: S, visible: &Visible, block: usize, scores: &mut [f32]) {
    let largest = s.splat(f32::MAX);
    let everything = visible.covers(block);
    let start = block * BLOCK;
    let first = s.splat(visible.first.saturating_sub(start).min(BLOCK) as f32);
    let begin = s.splat(visible.begin.saturating_sub(start).min(BLOCK) as f32);
    let end = s.splat(visible.end.saturating_sub(start).min(BLOCK) as f32);
    let never = s.splat(f32::NEG_INFINITY);
    for at in starts() {
        // SAFETY: the scores are a block of `BLOCK`.
        let mut score = s.min(unsafe { s.load(scores, at) }, largest);
        if !everything {
            let column = s.add(s.splat(at as f32), lane_numbers(s));
            let early = s.select_less(column, first, score, never);
            score = s.select_less(column, begin, early, s.select_less(column, end, score, never));
        }
        // SAFETY: as above.
        unsafe { s.store(scores, at, score) };
    }
}

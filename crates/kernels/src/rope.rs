//! Rotary position embedding: pairs of channels turn by an angle proportional to the position.
//!
//! Pair `i` of a head at position `p` becomes `(a cos φ - b sin φ, b cos φ + a sin φ)` with `φ = p · f_i`,
//! `f_i = θ^(-2i / rotary_dim)`, so the product of a query and a key depends on the difference of their positions.
//! Su et al. 2021, arXiv:2104.09864. The pair is channels `i` and `i + rotary_dim / 2`, or, interleaved, `2i` and `2i + 1`;
//! channels from `rotary_dim` on stay as they are.
//!
//! Angles are formed in f64, so they are exact to f32 at any position; each position's sines are computed once.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// How frequencies are stretched for a context longer than the one first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// As they are.
    None,
    /// All divided by `factor` (position interpolation; Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// New context length over the old one.
        factor: f64,
    },
    /// Wavelengths longer than `original_max / low_freq_factor` divided by `factor`, those shorter than
    /// `original_max / high_freq_factor` kept, in between a blend: Llama 3.1 (arXiv:2407.21783).
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Turns over the original context below which a frequency counts as low.
        low_freq_factor: f64,
        /// Turns over the original context above which a frequency counts as high.
        high_freq_factor: f64,
        /// The context length first trained on.
        original_max: f64,
    },
}

/// The `rotary_dim / 2` angles per position, `θ^(-2i / rotary_dim)`, after `scaling`.
pub fn inverse_frequencies(rotary_dim: usize, theta: f64, scaling: Scaling) -> Vec<f32> {
    let frequency = |i: usize| theta.powf(-2.0 * i as f64 / rotary_dim as f64);
    (0..rotary_dim / 2).map(|i| scaled(frequency(i), scaling) as f32).collect()
}

fn scaled(frequency: f64, scaling: Scaling) -> f64 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear { factor } => frequency / factor,
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } => {
            let turns = original_max * frequency / std::f64::consts::TAU;
            if turns < low_freq_factor {
                frequency / factor
            } else if turns > high_freq_factor {
                frequency
            } else {
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

/// A rotary embedding. Clones share the computed sines.
#[derive(Clone)]
pub struct Rope {
    inv_freq: Arc<[f32]>,
    attention_factor: f32,
    interleaved: bool,
    turns: Arc<RwLock<Arc<[f32]>>>,
}

impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rope")
            .field("inv_freq", &self.inv_freq)
            .field("attention_factor", &self.attention_factor)
            .field("interleaved", &self.interleaved)
            .finish_non_exhaustive()
    }
}

/// Positions whose sines are kept; those of farther ones are computed again each time.
const KEPT_POSITIONS: usize = 1 << 16;

/// Values worth handing to a thread.
const PART: usize = 1 << 15;

/// The position of each row.
#[derive(Clone, Copy)]
enum Positions<'a> {
    Each(&'a [i32]),
    EachNegated(&'a [i32]),
    Same(i32),
}

impl Positions<'_> {
    /// The position of row `row`; wider than `i32`, since `i32::MIN` has no negative.
    fn at(self, row: usize) -> i64 {
        match self {
            Self::Each(positions) => i64::from(positions[row]),
            Self::EachNegated(positions) => -i64::from(positions[row]),
            Self::Same(position) => i64::from(position),
        }
    }
}

/// Where the heads of the rows are: `[rows, heads, head_dim]`, rows `row_stride` apart, heads next to each other.
#[derive(Clone, Copy, Debug)]
pub struct HeadLayout {
    /// Elements from a row to the next.
    pub row_stride: usize,
    /// Heads in a row.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl Rope {
    /// An embedding with these angles per position. Sines are multiplied by `attention_factor` (1 except for YaRN).
    pub fn new(inv_freq: impl Into<Arc<[f32]>>, attention_factor: f32, interleaved: bool) -> Self {
        Self { inv_freq: inv_freq.into(), attention_factor, interleaved, turns: Arc::default() }
    }

    /// Whether `other` has the same angles; then its computed sines become those of this one too.
    pub fn share(&mut self, other: &Self) -> bool {
        let same = self.inv_freq == other.inv_freq && self.attention_factor == other.attention_factor;
        if same {
            self.turns = other.turns.clone();
        }
        same
    }

    /// Angles per position, one for each pair of channels.
    pub fn inv_freq(&self) -> &[f32] {
        &self.inv_freq
    }

    /// Channels that turn.
    pub fn rotary_dim(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// The factor on all sines and cosines.
    pub fn attention_factor(&self) -> f32 {
        self.attention_factor
    }

    /// Whether a pair is two neighbouring channels.
    pub fn interleaved(&self) -> bool {
        self.interleaved
    }

    /// Turns row `r` of `x` by `positions[r]`.
    ///
    /// # Panics
    /// If a head is shorter than `rotary_dim`, a row longer than its stride, or `x` shorter than the rows.
    pub fn rotate(&self, x: &mut [f32], layout: HeadLayout, positions: &[i32]) {
        self.apply(x, layout, positions.len(), Positions::Each(positions));
    }

    /// Turns row `r` of `x` back by `positions[r]`: the gradient of [`rotate`](Self::rotate), and its inverse when the
    /// attention factor is 1.
    ///
    /// # Panics
    /// As `rotate`.
    pub fn rotate_back(&self, x: &mut [f32], layout: HeadLayout, positions: &[i32]) {
        self.apply(x, layout, positions.len(), Positions::EachNegated(positions));
    }

    /// Turns all `rows` of `x` by the same `delta`: moves keys that are rotated already.
    ///
    /// # Panics
    /// As `rotate`.
    pub fn rotate_by(&self, x: &mut [f32], layout: HeadLayout, rows: usize, delta: i32) {
        self.apply(x, layout, rows, Positions::Same(delta));
    }

    fn apply(&self, x: &mut [f32], layout: HeadLayout, rows: usize, positions: Positions<'_>) {
        let HeadLayout { row_stride, heads, head_dim } = layout;
        let row = heads * head_dim;
        if rows == 0 || row == 0 || self.inv_freq.is_empty() {
            return;
        }
        assert!(self.rotary_dim() <= head_dim, "{} of {head_dim} channels cannot turn", self.rotary_dim());
        assert!(row <= row_stride, "rows of {row} values are {row_stride} apart");
        assert!(x.len() >= (rows - 1) * row_stride + row, "{rows} rows in {} values", x.len());
        let _span = profile::span("rotary encoding").work(|| Work::bytes(2 * rows * row * size_of::<f32>()));
        let last = (0..rows).map(|r| positions.at(r).unsigned_abs()).filter(|&p| p < KEPT_POSITIONS as u64).max();
        let kept = self.turns(last.map_or(0, |last| last as usize + 1));
        let together = (PART / row).max(1);
        let used = (rows - 1) * row_stride + row;
        parallel::pieces(&mut x[..used], together * row_stride, |piece, x| {
            dispatch(Rotate { rope: self, kept: &kept, x, layout, positions, first: piece * together });
        });
    }

    /// Cosines and sines `[position][2][pair]` of at least the first `positions` positions.
    fn turns(&self, positions: usize) -> Arc<[f32]> {
        let known = self.turns.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.len() >= positions * self.rotary_dim() {
            return known;
        }
        let mut turns = vec![0.0; positions.next_power_of_two().max(64) * self.rotary_dim()];
        let computed = known.len();
        turns[..computed].copy_from_slice(&known);
        parallel::pieces(&mut turns[computed..], 64 * self.rotary_dim(), |piece, turns| {
            let first = computed / self.rotary_dim() + piece * 64;
            for (i, turn) in turns.chunks_exact_mut(self.rotary_dim()).enumerate() {
                self.turn((first + i) as i64, turn);
            }
        });
        let turns: Arc<[f32]> = turns.into();
        let mut known = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < turns.len() {
            *known = turns.clone();
        }
        turns
    }

    /// The cosines, then the sines, of all pairs at `position`.
    fn turn(&self, position: i64, turn: &mut [f32]) {
        let (cosines, sines) = turn.split_at_mut(self.inv_freq.len());
        for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(self.inv_freq.iter()) {
            let (s, c) = (position as f64 * f64::from(*frequency)).sin_cos();
            *cosine = (c * f64::from(self.attention_factor)) as f32;
            *sine = (s * f64::from(self.attention_factor)) as f32;
        }
    }
}

struct Rotate<'a> {
    rope: &'a Rope,
    kept: &'a [f32],
    x: &'a mut [f32],
    layout: HeadLayout,
    positions: Positions<'a>,
    first: usize,
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let HeadLayout { row_stride, heads, head_dim } = self.layout;
        let rotary = self.rope.rotary_dim();
        let mut computed = vec![0.0; rotary];
        for (r, x) in self.x.chunks_mut(row_stride).enumerate() {
            let position = self.positions.at(self.first + r);
            let at = position.unsigned_abs() as usize;
            let turn = match self.kept.chunks_exact(rotary).nth(at) {
                Some(kept) => kept,
                None => {
                    self.rope.turn(position.abs(), &mut computed);
                    &computed
                }
            };
            let (cosines, sines) = turn.split_at(rotary / 2);
            let sign = if position < 0 { -1.0 } else { 1.0 };
            for head in x[..heads * head_dim].chunks_exact_mut(head_dim) {
                if self.rope.interleaved {
                    rotate_neighbours(&mut head[..rotary], cosines, sines, sign);
                } else {
                    rotate_halves(s, &mut head[..rotary], cosines, sines, sign);
                }
            }
        }
    }
}

/// Turns channels `i` and `i + n / 2` of the `n` in `head`.
#[inline(always)]
fn rotate_halves<S: Simd>(s: S, head: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
    let (first, second) = head.split_at_mut(cosines.len());
    for at in (0..cosines.len()).step_by(LANES) {
        let (a, b) = (s.read(first, at, 0.0), s.read(second, at, 0.0));
        let cosine = s.read(cosines, at, 0.0);
        let sine = s.mul(s.read(sines, at, 0.0), s.splat(sign));
        s.write(first, at, s.sub(s.mul(a, cosine), s.mul(b, sine)));
        s.write(second, at, s.fma(b, cosine, s.mul(a, sine)));
    }
}

/// Turns channels `2i` and `2i + 1`.
#[inline(always)]
fn rotate_neighbours(head: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
    for ((pair, cosine), sine) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
        let (a, b, sine) = (pair[0], pair[1], sine * sign);
        *pair = [a * cosine - b * sine, b * cosine + a * sine];
    }
}

#[cfg(test)]
mod tests;

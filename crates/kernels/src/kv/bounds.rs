//! What the score of a query with any key of a page cannot exceed.
//!
//! With `M_c` and `m_c` the largest and the smallest number of channel `c` among the keys of a page,
//! `q·k ≤ Σ_c max(q_c M_c, q_c m_c) = max(q, 0)·M + min(q, 0)·m` for every key `k` of the page. Tang et al. 2024 (Quest),
//! arXiv:2406.10774.

use super::{KeyValues, PAGE};
use crate::product::{Factors, Size, Start, Vectors, multiply};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// The extremes of every channel among the keys of every full page of a [`KeyValues`], as they are stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyBounds {
    head_dim: usize,
    /// Pages that are bounded, from the first on.
    pages: usize,
    /// How many of them were settled.
    settled: usize,
    /// For every [`LANES`] pages `[2 · head_dim, LANES]`: `M` of all channels, then `m`.
    extremes: Vec<f32>,
}

impl KeyBounds {
    /// Bounds of no page of keys of `head_dim` channels.
    pub fn new(head_dim: usize) -> Self {
        Self { head_dim, ..Self::default() }
    }

    /// How many pages are bounded: the full ones.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// `M` and `m` of `channel` in `page`.
    pub fn extremes(&self, page: usize, channel: usize) -> (f32, f32) {
        let at = |row| self.extremes[self.place(page) + row * LANES];
        (at(channel), at(self.head_dim + channel))
    }

    /// Where the first number of `page` stands.
    fn place(&self, page: usize) -> usize {
        page / LANES * self.tile() + page % LANES
    }

    /// Numbers of [`LANES`] pages.
    fn tile(&self) -> usize {
        2 * self.head_dim * LANES
    }

    /// Takes in the pages of `pairs` that are full or coded since the last time.
    pub fn update(&mut self, pairs: &KeyValues) {
        let full = pairs.slots / PAGE;
        let bounded = self.pages.min(full);
        let coded = self.settled.min(bounded)..pairs.settled.min(bounded);
        self.extremes.resize(full.div_ceil(LANES) * self.tile(), 0.0);
        if bounded < full || !coded.is_empty() {
            let mut keys = vec![0.0; self.head_dim * PAGE];
            for page in coded.chain(bounded..full) {
                dispatch(Bound { bounds: self, pairs, page, keys: &mut keys });
            }
        }
        (self.pages, self.settled) = (full, pairs.settled);
    }

    /// Forgets what holds of `slot` and those after it, which have changed.
    pub fn forget_from(&mut self, slot: usize) {
        self.pages = self.pages.min(slot / PAGE);
        self.settled = self.settled.min(self.pages);
    }

    /// The bound of every page for every one of `queries` `[queries, head_dim]`: `[queries, row]`, of whose rows the first
    /// [`KeyBounds::pages`] count.
    pub fn scores(&self, queries: &[f32]) -> PageScores {
        let count = queries.len() / self.head_dim.max(1);
        let row = self.pages.next_multiple_of(LANES);
        let mut signed = Vec::with_capacity(2 * queries.len());
        for query in queries.chunks_exact(self.head_dim.max(1)) {
            signed.extend(query.iter().map(|x| x.max(0.0)));
            signed.extend(query.iter().map(|x| x.min(0.0)));
        }
        let mut scores = vec![0.0; count * row];
        dispatch(Scores { bounds: self, queries: count, signed: &signed, row, scores: &mut scores });
        PageScores { scores, row, pages: self.pages }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.extremes[..])
    }
}

/// Bounds of pages for some queries.
#[derive(Clone, Debug)]
pub struct PageScores {
    scores: Vec<f32>,
    row: usize,
    pages: usize,
}

impl PageScores {
    /// The bounds of every query, page by page.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.scores.chunks_exact(self.row.max(1)).map(|row| &row[..self.pages])
    }
}

/// Finds the extremes of a page.
struct Bound<'a> {
    bounds: &'a mut KeyBounds,
    pairs: &'a KeyValues,
    page: usize,
    keys: &'a mut [f32],
}

impl Kernel for Bound<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { bounds, pairs, page, keys } = self;
        pairs.pages[page].keys(s, keys, PAGE, PAGE);
        let (place, smallest) = (bounds.place(page), bounds.head_dim * LANES);
        for (channel, keys) in keys.chunks_exact(PAGE).enumerate() {
            let (mut high, mut low) = (s.splat(f32::NEG_INFINITY), s.splat(f32::INFINITY));
            for at in (0..PAGE).step_by(LANES) {
                // SAFETY: a channel has `PAGE` keys, a whole number of vectors.
                let keys = unsafe { s.load(keys, at) };
                (high, low) = (s.max(keys, high), s.min(keys, low));
            }
            let at = place + channel * LANES;
            bounds.extremes[at] = s.largest(high);
            bounds.extremes[at + smallest] = -s.largest(s.sub(s.zero(), low));
        }
    }
}

/// Bounds the scores of all pages, as a product of `[queries, 2 · head_dim]` with `[2 · head_dim, pages]`.
struct Scores<'a> {
    bounds: &'a KeyBounds,
    queries: usize,
    /// `max(q, 0)` and `min(q, 0)` of every query.
    signed: &'a [f32],
    row: usize,
    scores: &'a mut [f32],
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { bounds, queries, signed, row, scores } = self;
        let steps = 2 * bounds.head_dim;
        let size = Size { rows: queries, vectors: 1, steps };
        let factors = Factors { data: signed, row_stride: steps, step_stride: 1 };
        for at in (0..row).step_by(LANES) {
            let columns = Vectors { data: &bounds.extremes[bounds.place(at)..], stride: LANES };
            multiply(s, size, factors, columns, Start::Zero, &mut scores[at..], row);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kv::Codec;
    use crate::simd::{Level, dispatch_at};

    fn store(codec: Codec, head_dim: usize, slots: usize, key: impl Fn(usize, usize) -> f32) -> KeyValues {
        let mut pairs = KeyValues::new(codec, head_dim, head_dim);
        for slot in 0..slots {
            let row: Vec<f32> = (0..head_dim).map(|channel| key(slot, channel)).collect();
            pairs.append(&row, &row, slot as i32);
        }
        pairs
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// The bound of `page` for `query`, in double precision.
    fn bound(bounds: &KeyBounds, page: usize, query: &[f32]) -> f64 {
        let term = |(channel, &q): (usize, &f32)| {
            let (high, low) = bounds.extremes(page, channel);
            (f64::from(q) * f64::from(high)).max(f64::from(q) * f64::from(low))
        };
        query.iter().enumerate().map(term).sum()
    }

    /// Checks the bounds of all full pages against every stored key, and against the definition.
    #[track_caller]
    fn check(bounds: &KeyBounds, pairs: &KeyValues, queries: &[Vec<f32>], what: &str) {
        assert_eq!(bounds.pages(), pairs.len() / PAGE, "{what}");
        let head_dim = queries[0].len();
        let scores = bounds.scores(&queries.concat());
        let (mut key, mut value) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        for (query, scores) in queries.iter().zip(scores.rows()) {
            assert_eq!(scores.len(), bounds.pages(), "{what}");
            for (page, &score) in scores.iter().enumerate() {
                let exact = bound(bounds, page, query);
                let size: f64 = query.iter().map(|q| f64::from(q.abs())).sum::<f64>() * 1e3 + 1.0;
                assert!((f64::from(score) - exact).abs() <= 1e-6 * size, "{what}: page {page}, {score} for {exact}");
                for slot in page * PAGE..(page + 1) * PAGE {
                    pairs.read(slot, &mut key, &mut value);
                    let true_score = dot(query, &key);
                    assert!(true_score <= exact + 1e-12 * size, "{what}: slot {slot}, {true_score} above {exact}");
                }
            }
        }
    }

    #[test]
    fn no_key_scores_above_the_bound_of_its_page() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let random: Vec<f32> = (0..300 * 20).map(|_| rng.random_range(-3.0..3.0)).collect();
        let corner = |slot: usize, channel: usize| if slot >> (channel % 5) & 1 == 1 { 100.0 } else { -100.0 };
        let spike = |slot: usize, channel: usize| if slot % PAGE == PAGE - 1 && channel == 3 { -900.0 } else { 1e-4 };
        let tiny = |slot: usize, channel: usize| ((slot * 7 + channel) as f32 * 1e-30) - 1e-28;
        let constant = |_: usize, channel: usize| channel as f32 - 4.0;
        type Key<'a> = &'a dyn Fn(usize, usize) -> f32;
        let keys: [(&str, Key<'_>); 5] = [
            ("random", &|slot, channel| random[slot * 20 + channel % 20]),
            ("corners", &corner),
            ("a spike in the last slot", &spike),
            ("tiny", &tiny),
            ("constant", &constant),
        ];
        for head_dim in [1, 5, 16, 20] {
            let mut queries: Vec<Vec<f32>> =
                (0..7).map(|_| (0..head_dim).map(|_| rng.random_range(-2.0..2.0)).collect()).collect();
            queries.push(vec![0.0; head_dim]);
            queries.push((0..head_dim).map(|c| if c % 2 == 0 { 50.0 } else { -50.0 }).collect());
            for (name, key) in keys {
                for codec in Codec::ALL {
                    for slots in [0, 31, 32, 299] {
                        let pairs = store(codec, head_dim, slots, key);
                        let mut bounds = KeyBounds::new(head_dim);
                        bounds.update(&pairs);
                        check(&bounds, &pairs, &queries, &format!("{name}, {codec}, {slots} of {head_dim}"));
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_follow_their_pages() {
        let key = |slot: usize, channel: usize| ((slot * 13 + channel * 5) as f32).sin() * 4.0;
        for codec in Codec::ALL {
            let mut pairs = KeyValues::new(codec, 8, 8);
            let mut bounds = KeyBounds::new(8);
            for slot in 0..620 {
                let row: Vec<f32> = (0..8).map(|channel| key(slot, channel)).collect();
                pairs.append(&row, &row, slot as i32);
                bounds.update(&pairs);
            }
            let fresh = |pairs: &KeyValues| {
                let mut bounds = KeyBounds::new(8);
                bounds.update(pairs);
                bounds
            };
            assert_eq!(bounds, fresh(&pairs), "{codec}, token by token");
            let keep: Vec<u32> = (0..620).filter(|slot| *slot < 70 || slot % 3 != 1).collect();
            pairs.compact(&keep);
            bounds.forget_from(70);
            bounds.update(&pairs);
            let rows = |bounds: &KeyBounds| bounds.scores(&[1.0; 16]).rows().map(<[f32]>::to_vec).collect::<Vec<_>>();
            assert_eq!(rows(&bounds), rows(&fresh(&pairs)), "{codec}, compacted");
            pairs.truncate(100);
            bounds.update(&pairs);
            assert_eq!(bounds.pages(), 3, "{codec}");
        }
    }

    #[test]
    fn all_levels_agree() {
        let pairs = store(Codec::F16, 20, 600, |slot, channel| ((slot * 3 + channel) as f32).cos());
        let mut bounds = KeyBounds::new(20);
        bounds.update(&pairs);
        let signed: Vec<f32> = (0..3 * 40).map(|i| (i as f32).sin()).collect();
        let at = |level| {
            let mut scores = vec![0.0; 3 * 32];
            dispatch_at(level, Scores { bounds: &bounds, queries: 3, signed: &signed, row: 32, scores: &mut scores });
            let mut found = bounds.clone();
            dispatch_at(level, Bound { bounds: &mut found, pairs: &pairs, page: 7, keys: &mut vec![0.0; 20 * PAGE] });
            assert_eq!(found, bounds, "{level:?}");
            scores
        };
        let expected = at(Level::Scalar);
        for level in Level::available() {
            let near = at(level).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near, "{level:?}");
        }
    }
}

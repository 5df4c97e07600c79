//! The tokens that may be drawn, without sorting the vocabulary.
//!
//! Every cut but `typical_p` keeps the likeliest tokens down to some score. So one pass over the scores collects those above a bound,
//! and the cuts look at them alone: a cut by number selects, a cut by probability selects by weight, both in linear time.

use std::cmp::Ordering;

use headwise_kernels::scores::{BLOCK, block_sums};

use super::Sampling;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub id: u32,
    pub score: f32,
    /// Its probability, times a number that is the same for all of a row.
    pub weight: f64,
}

impl Candidate {
    fn new(id: u32, score: f32, most: f32) -> Self {
        Self { id, score, weight: f64::from((score - most).exp()) }
    }

    /// The likeliest first, the lower id first among equals.
    pub(super) fn likelier(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.id.cmp(&other.id))
    }
}

/// How far below the largest score candidates for `top_p` are looked for: the first of these that hold its share are enough. Looking takes
/// less than selecting among too many.
const DEPTHS: [f32; 11] = [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 20.0, 24.0, f32::INFINITY];

/// What `sampling` leaves of `scores`, whose largest is `most` and finite, in no order but always the same one; at least one token.
pub(super) fn collect(sampling: &Sampling, scores: &[f32], most: f32, found: &mut Vec<Candidate>) {
    let Sampling { top_k, typical_p, top_p, min_p, .. } = *sampling;
    if top_k > 0 {
        best(scores, most, top_k, found);
    } else if typical_p < 1.0 {
        above(scores, most, f32::NEG_INFINITY, found);
    } else if top_p < 1.0 {
        let enough = f64::from(top_p) * total(scores, most);
        // Two sums of the same weights may differ in their last digits.
        let holds = |found: &[Candidate]| sum(found) * (1.0 - 1e-6) >= enough;
        for depth in DEPTHS {
            above(scores, most, most - depth, found);
            if holds(found) {
                break;
            }
        }
        keep_mass(found, enough, Candidate::likelier);
    } else {
        above(scores, most, most + min_p.ln() - 1e-3, found);
    }
    if typical_p < 1.0 {
        keep_typical(found, f64::from(typical_p));
    }
    if top_p < 1.0 && (top_k > 0 || typical_p < 1.0) {
        keep_mass(found, f64::from(top_p) * sum(found), Candidate::likelier);
    }
    if min_p > 0.0 {
        let least = f64::from(min_p) * found.iter().map(|candidate| candidate.weight).fold(0.0, f64::max);
        found.retain(|candidate| candidate.weight >= least);
    }
}

/// The sum of all weights.
fn total(scores: &[f32], most: f32) -> f64 {
    let mut sums = vec![0.0; scores.len().div_ceil(BLOCK)];
    block_sums(scores, most, 1.0, &mut sums);
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// Scores that are looked at together, most of which hold nothing above a bound.
const TOGETHER: usize = 64;

/// Calls `visit` with every token whose score is above what it returned last, at first `bound`.
fn visit_above(scores: &[f32], mut bound: f32, mut visit: impl FnMut(u32, f32) -> f32) {
    for (part, scores) in scores.chunks(TOGETHER).enumerate() {
        if !scores.iter().fold(false, |any, &score| any | (score > bound)) {
            continue;
        }
        for (within, &score) in scores.iter().enumerate() {
            if score > bound {
                bound = visit((part * TOGETHER + within) as u32, score);
            }
        }
    }
}

/// The tokens whose score is above `bound`.
fn above(scores: &[f32], most: f32, bound: f32, found: &mut Vec<Candidate>) {
    found.clear();
    visit_above(scores, bound, |id, score| {
        found.push(Candidate::new(id, score, most));
        bound
    });
}

/// The `k` likeliest tokens.
fn best(scores: &[f32], most: f32, k: usize, found: &mut Vec<Candidate>) {
    found.clear();
    let room = k.saturating_mul(2).max(TOGETHER);
    let mut bound = f32::NEG_INFINITY;
    visit_above(scores, bound, |id, score| {
        found.push(Candidate { id, score, weight: 0.0 });
        if found.len() == room {
            select(found, k);
            // Of equals the lower id is likelier, and ids go up: an equal of the last of `k` is not among them.
            bound = found.iter().map(|candidate| candidate.score).fold(f32::INFINITY, f32::min);
        }
        bound
    });
    select(found, k);
    found.iter_mut().for_each(|candidate| *candidate = Candidate::new(candidate.id, candidate.score, most));
}

fn select(candidates: &mut Vec<Candidate>, k: usize) {
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k, Candidate::likelier);
        candidates.truncate(k);
    }
}

/// Keeps the first of `candidates` by `order` whose weights add up to `mass`, which is above 0.
fn keep_mass(candidates: &mut Vec<Candidate>, mass: f64, order: impl Fn(&Candidate, &Candidate) -> Ordering) {
    // All before `start` are kept and do not suffice, none from `end` on is needed.
    let (mut start, mut end, mut missing) = (0, candidates.len(), mass);
    while end - start > 1 {
        let half = (end - start) / 2;
        candidates[start..end].select_nth_unstable_by(half, &order);
        let held = sum(&candidates[start..start + half]);
        if held >= missing {
            end = start + half;
        } else {
            start += half;
            missing -= held;
        }
    }
    candidates.truncate(end);
}

/// Keeps the tokens whose `-log p` is nearest to the entropy and that hold the share `typical_p` of the probability.
fn keep_typical(candidates: &mut Vec<Candidate>, typical_p: f64) {
    let most = candidates.iter().map(|candidate| candidate.score).fold(f32::NEG_INFINITY, f32::max);
    let total = sum(candidates);
    // `-log p` is `log total` more than this.
    let surprise = |candidate: &Candidate| f64::from(most) - f64::from(candidate.score);
    // A weight of 0 counts for nothing, however surprising.
    let parts = candidates.iter().filter(|candidate| candidate.weight > 0.0);
    let mean = parts.map(|candidate| candidate.weight * surprise(candidate)).sum::<f64>() / total;
    let distance = |candidate: &Candidate| (surprise(candidate) - mean).abs();
    keep_mass(candidates, typical_p * total, |a, b| distance(a).total_cmp(&distance(b)).then(a.likelier(b)));
}

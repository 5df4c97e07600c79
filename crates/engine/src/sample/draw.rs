//! Drawing one token: from the whole vocabulary, or from the candidates that cuts have left.

use headwise_kernels::scores::{BLOCK, block_sums, exponentials};

use super::candidates::Candidate;

/// Draws from all of `scores`, whose largest is `most`, at the inverse temperature `scale`; `share` is uniform in [0, 1).
///
/// The blocks are summed, one is drawn, and only that one is looked into.
pub(super) fn from_all(scores: &[f32], most: f32, scale: f32, share: f64, sums: &mut Vec<f32>) -> u32 {
    sums.clear();
    sums.resize(scores.len().div_ceil(BLOCK), 0.0);
    block_sums(scores, most, scale, sums);
    let sums = sums.iter().map(|&sum| f64::from(sum));
    let (block, left) = walk(sums.clone(), share * sums.sum::<f64>());
    let inside = &scores[block * BLOCK..scores.len().min((block + 1) * BLOCK)];
    let mut weights = [0.0; BLOCK];
    let weights = &mut weights[..inside.len()];
    exponentials(inside, most, scale, weights);
    let weights = weights.iter().map(|&weight| f64::from(weight));
    let (within, _) = walk(weights.clone(), left * weights.sum::<f64>());
    (block * BLOCK + within) as u32
}

/// Draws one of `candidates` at the inverse temperature `scale`; `share` is uniform in [0, 1). Returns its id and how likely it was.
pub(super) fn from_candidates(candidates: &mut [Candidate], scale: f32, share: f64) -> (u32, f64) {
    let most = candidates.iter().map(|candidate| candidate.score).fold(f32::NEG_INFINITY, f32::max);
    for candidate in candidates.iter_mut() {
        candidate.weight = f64::from(((candidate.score - most) * scale).exp());
    }
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let (index, _) = walk(candidates.iter().map(|candidate| candidate.weight), share * total);
    (candidates[index].id, candidates[index].weight / total)
}

/// Into which of `weights` the point falls that has `left` of them before it, and how far into it as a share of it; never one that is 0.
fn walk(weights: impl Iterator<Item = f64>, mut left: f64) -> (usize, f64) {
    let mut last = (0, 0.0);
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
        if left < weight {
            return (index, left / weight);
        }
        left -= weight;
        // What rounding leaves of the last point falls into the last weight.
        last = (index, 1.0);
    }
    last
}

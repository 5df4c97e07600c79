//! The attention selectivity index: how much a layer's attention is on few tokens, scale by scale.
//!
//! `ASI(l, s) = E[Σ_{j in map} α_ij] · E[TopK_j in history(α_ij) / Σ_{j in history} α_ij]` over queries `i` of the map of scale `s`, heads
//! and pictures: the share of the current map, times how much of the rest falls on the `K` best slots. The paper does not say whether the
//! second factor is divided; without it (`Form::Product`) a layer that hardly looks back counts as dispersed. Over all layers and
//! scales, the smallest `z` over the layers of a scale are *drafters*, which look everywhere and need many slots; the others are *refiners*.
//! Li et al. 2025 (ScaleKV), arXiv:2505.19602.

use headwise_models::next_scale::{Attended, CompressesScales, Kept};
use headwise_ops::host::{self, Host};
use serde::{Deserialize, Serialize};

use super::select::{Head, weights};

/// Slots that count at most.
const MOST: usize = 64;

/// Whether the attention on the best slots is taken by itself or as a share of what falls on the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As a share.
    #[default]
    Ratio,
    /// By itself.
    Product,
}

/// How many of a history's slots count as few: a tenth, at most 64.
pub fn few(history: usize) -> usize {
    history.div_ceil(10).clamp(1, MOST)
}

/// The index of one layer and scale while it is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selectivity {
    current: f64,
    top: f64,
    ratio: f64,
    queries: f64,
}

impl Selectivity {
    /// Takes the attention `weights` of a query; the first `history` are those of earlier scales. `top` slots count.
    pub fn add(&mut self, weights: &[f32], history: usize, top: usize) {
        let (past, current) = weights.split_at(history);
        let mut past = past.to_vec();
        past.sort_unstable_by(|a, b| b.total_cmp(a));
        let sum = |values: &[f32]| values.iter().copied().map(f64::from).sum::<f64>();
        let (best, all) = (sum(&past[..top.min(past.len())]), sum(&past));
        self.current += sum(current);
        self.top += best;
        // A query that does not look back at all looks at no slot more than at another.
        self.ratio += if all > 0.0 { best / all } else { 1.0 };
        self.queries += 1.0;
    }

    /// The index, 0 without queries.
    pub fn index(&self, form: Form) -> f64 {
        let queries = self.queries.max(1.0);
        let second = match form {
            Form::Ratio => self.ratio,
            Form::Product => self.top,
        };
        self.current / queries * second / queries
    }
}

/// Measures the index of every layer and scale while pictures are drawn, and keeps every slot.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// By scale, then layer.
    measured: Vec<Vec<Selectivity>>,
    top: Option<usize>,
}

impl Calibration {
    /// With so many slots of a history as the best; else [`few`] of each.
    pub fn new(top: Option<usize>) -> Self {
        Self { measured: Vec::new(), top }
    }

    /// The index by scale, then layer; of the first scale, which has no history, too.
    pub fn indices(&self, form: Form) -> Vec<Vec<f64>> {
        self.measured.iter().map(|layers| layers.iter().map(|layer| layer.index(form)).collect()).collect()
    }
}

impl CompressesScales for Calibration {
    fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept> {
        self.measured.resize(seen.scales.len(), vec![Selectivity::default(); seen.layers]);
        let top = self.top.unwrap_or(few(seen.history));
        for_heads(seen, |head| {
            for cell in 0..head.query.len() / head.head_dim {
                self.measured[seen.scale][seen.layer].add(&weights(head, cell), seen.history, top);
            }
        });
        None
    }
}

/// Calls `each` with every head of every picture.
pub(super) fn for_heads(seen: &Attended<'_>, mut each: impl FnMut(&Head<'_>)) {
    let [_, heads, cells, head_dim] = seen.query.dims();
    let slots = seen.key.dims()[2];
    let [query, key] = [seen.query, seen.key].map(|tensor| Host::new(host::contiguous(tensor.clone())));
    for head in 0..seen.pictures * heads {
        let of = |rows: usize| head * rows * head_dim..(head + 1) * rows * head_dim;
        let head = Head { query: &query.as_slice()[of(cells)], key: &key.as_slice()[of(slots)], head_dim };
        each(&head);
    }
}

/// How far each layer's index is from the mean of its scale, in standard deviations; 0 where all are the same.
pub fn z_scores(indices: &[f64]) -> Vec<f64> {
    let count = indices.len().max(1) as f64;
    let mean = indices.iter().sum::<f64>() / count;
    let deviation = (indices.iter().map(|index| (index - mean).powi(2)).sum::<f64>() / count).sqrt();
    indices.iter().map(|index| if deviation > 0.0 { (index - mean) / deviation } else { 0.0 }).collect()
}

/// The `count` drafters among the pairs of `scales` and layers, by the smallest z: by scale of all, whether a layer drafts.
pub fn drafters(indices: &[Vec<f64>], scales: &[usize], count: usize) -> Vec<Vec<bool>> {
    let mut drafts: Vec<Vec<bool>> = indices.iter().map(|layers| vec![false; layers.len()]).collect();
    let of_scale = |&scale: &usize| {
        z_scores(&indices[scale]).into_iter().enumerate().map(move |(layer, z)| (z, scale, layer)).collect::<Vec<_>>()
    };
    let mut pairs: Vec<(f64, usize, usize)> = scales.iter().flat_map(of_scale).collect();
    pairs.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    pairs.into_iter().take(count).for_each(|(_, scale, layer)| drafts[scale][layer] = true);
    drafts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(current: f32, past: &[f32], form: Form) -> f64 {
        let mass: f32 = past.iter().sum();
        let mut row: Vec<f32> = past.iter().map(|weight| (1.0 - current) * weight / mass).collect();
        row.extend([current / 4.0; 4]);
        let mut selectivity = Selectivity::default();
        selectivity.add(&row, past.len(), few(past.len()));
        selectivity.index(form)
    }

    #[test]
    fn the_index_is_a_product_of_two_means() {
        let mut selectivity = Selectivity::default();
        selectivity.add(&[0.3, 0.1, 0.6], 2, 1);
        selectivity.add(&[0.0, 0.2, 0.8], 2, 1);
        assert!((selectivity.index(Form::Ratio) - 0.7 * (0.75 + 1.0) / 2.0).abs() < 1e-6);
        assert!((selectivity.index(Form::Product) - 0.7 * 0.25).abs() < 1e-6);
    }

    /// With the plain product, a layer that looks almost only at the current map would count as dispersed.
    #[test]
    fn dispersed_layers_rank_below_concentrated_ones_whatever_the_current_share() {
        let flat: Vec<f32> = (0..921).map(|i| 1.0 + (i % 5) as f32 / 10.0).collect();
        let peaked: Vec<f32> = (0..921).map(|i| if i % 30 == 0 { 100.0 } else { 1.0 }).collect();
        for share in [0.8, 0.9, 0.95, 0.98, 0.995] {
            for dispersed in [0.3, 0.5, 0.8, share] {
                assert!(
                    index(dispersed, &flat, Form::Ratio) < index(share, &peaked, Form::Ratio),
                    "{share} {dispersed}"
                );
            }
        }
        assert!(index(0.995, &peaked, Form::Product) < index(0.5, &flat, Form::Product));
    }

    #[test]
    fn drafters_have_the_smallest_z_over_layers_and_scales() {
        assert_eq!(z_scores(&[2.0, 2.0]), [0.0, 0.0]);
        let z = z_scores(&[1.0, 2.0, 3.0]);
        assert!((z[0] + 1.5f64.sqrt()).abs() < 1e-12 && z[1] == 0.0);
        // The first scale is not among those that count; the second has the one that is furthest below.
        let indices = [vec![0.0, 9.0, 9.0, 9.0], vec![0.1, 0.9, 0.9, 0.9], vec![0.5, 0.6, 0.7, 0.8]];
        let drafts = drafters(&indices, &[1, 2], 2);
        assert_eq!(drafts, [[false; 4], [true, false, false, false], [true, false, false, false]]);
    }
}

//! PINE written out in f64: for every query and head all keys get their positions, one after the other.

use burn::tensor::Device;
use headwise_engine::pine::SegmentedText;
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::rope::Rope;
use headwise_models::decoder::Decoder;
use headwise_nn::mixer::{LayerCache, MixContext, Projected, Segment};

/// Where the parts of a text are.
pub struct Definition {
    /// First rows of the segments and, last, of what follows them.
    bounds: Vec<usize>,
}

impl Definition {
    pub fn new(text: &SegmentedText) -> Self {
        let mut bounds = vec![text.prefix.len()];
        text.segments.iter().for_each(|segment| bounds.push(bounds[bounds.len() - 1] + segment.len()));
        Self { bounds }
    }

    /// The scores after `text` and after each of `steps`.
    pub fn scores(&mut self, decoder: &Decoder, text: &SegmentedText, steps: &[u32]) -> Vec<Vec<f32>> {
        let ids = [&text.prefix[..], &text.segments.concat(), &text.suffix, steps].concat();
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        let mut x = decoder.embed(&ids, &positions, &Device::flex());
        for layer in 0..decoder.blocks.len() {
            let mut ctx = MixContext { layer, cache: Some(self), ..MixContext::new(&positions, &segments) };
            x = decoder.layer(layer, x, &mut ctx);
        }
        let wanted: Vec<usize> = (ids.len() - 1 - steps.len()..ids.len()).collect();
        let scores: Vec<f32> = decoder.head(x, &wanted).into_data().try_into_vec().unwrap();
        scores.chunks_exact(decoder.spec().vocabulary).map(<[f32]>::to_vec).collect()
    }

    fn segments(&self) -> usize {
        self.bounds.len() - 1
    }

    fn rows(&self, segment: usize) -> std::ops::Range<usize> {
        self.bounds[segment]..self.bounds[segment + 1]
    }

    fn segment_of(&self, row: usize) -> Option<usize> {
        (0..self.segments()).find(|&segment| self.rows(segment).contains(&row))
    }

    /// The positions of the keys of all segments, and of `own` last.
    fn placed(&self, own: Option<usize>, importance: &[f64], positions: &mut [f64]) {
        let mut order: Vec<usize> = (0..self.segments()).filter(|&segment| Some(segment) != own).collect();
        order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]));
        let mut end = self.bounds[self.segments()];
        for segment in own.into_iter().chain(order) {
            let rows = self.rows(segment);
            end -= rows.len();
            rows.enumerate().for_each(|(place, row)| positions[row] = (end + place) as f64);
        }
    }
}

fn rotated(x: &[f64], rope: Option<&Rope>, position: f64) -> Vec<f64> {
    let (inv_freq, mut turned) = (rope.map_or(&[][..], Rope::inv_freq), x.to_vec());
    let half = inv_freq.len();
    for (i, frequency) in inv_freq.iter().enumerate() {
        let (sin, cos) = (position * f64::from(*frequency)).sin_cos();
        turned[i] = x[i] * cos - x[i + half] * sin;
        turned[i + half] = x[i + half] * cos + x[i] * sin;
    }
    turned
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl LayerCache for Definition {
    fn attend(
        &mut self,
        _: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        _: &[i32],
        _: &[Segment],
        out: &mut [f32],
    ) {
        let Projected { heads, kv_heads, head_dim, .. } = projected;
        let tokens = out.len() / (heads * head_dim);
        let row = |data: &[f32], row: usize, heads: usize, head: usize| -> Vec<f64> {
            data[(row * heads + head) * head_dim..][..head_dim].iter().map(|&x| f64::from(x)).collect()
        };
        let scale = f64::from(spec.scale);
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let keys: Vec<Vec<f64>> = (0..tokens).map(|at| row(projected.key, at, kv_heads, kv_head)).collect();
            let queries: Vec<Vec<f64>> = (0..tokens).map(|at| row(projected.query, at, heads, head)).collect();
            // The mean weight on the tokens of every segment but `own` without positions, summed over `rows`.
            let importance = |rows: std::ops::Range<usize>, own: Option<usize>| -> Vec<f64> {
                let mut sums = vec![0.0; self.segments()];
                for query in &queries[rows] {
                    let of = |segment: usize| -> f64 {
                        let weights = keys[self.rows(segment)].iter().map(|key| (scale * product(query, key)).exp());
                        if Some(segment) == own { 0.0 } else { weights.sum() }
                    };
                    let weights: Vec<f64> = (0..self.segments()).map(of).collect();
                    let total: f64 = weights.iter().sum();
                    for (segment, weight) in weights.iter().enumerate() {
                        sums[segment] += weight / total / self.rows(segment).len() as f64;
                    }
                }
                sums
            };
            let of_segments: Vec<Vec<f64>> =
                (0..self.segments()).map(|own| importance(self.rows(own), Some(own))).collect();
            for (at, query) in queries.iter().enumerate() {
                let mut positions: Vec<f64> = (0..tokens).map(|at| at as f64).collect();
                let own = self.segment_of(at);
                match own {
                    Some(own) => self.placed(Some(own), &of_segments[own], &mut positions),
                    None if at >= self.bounds[0] => self.placed(None, &importance(at..at + 1, None), &mut positions),
                    None => {}
                }
                let query = rotated(query, rope, positions[at]);
                // What is assigned a later position is hidden; nothing before a text's end is.
                let window = spec.window.map_or(f64::INFINITY, |window| window as f64);
                let seen = |key: &usize| {
                    let distance = positions[at] - positions[*key];
                    (0.0..window).contains(&distance) && (at >= self.bounds[0] || *key <= at)
                };
                let seen: Vec<usize> = (0..tokens).filter(seen).collect();
                let weight =
                    |key: &usize| (scale * product(&query, &rotated(&keys[*key], rope, positions[*key]))).exp();
                let weights: Vec<f64> = seen.iter().map(weight).collect();
                let total: f64 = weights.iter().sum();
                let mut mixed = vec![0.0; head_dim];
                for (key, weight) in seen.iter().zip(weights) {
                    let value = row(projected.value, *key, kv_heads, kv_head);
                    mixed.iter_mut().zip(value).for_each(|(mixed, value)| *mixed += weight / total * value);
                }
                let out = &mut out[(at * heads + head) * head_dim..][..head_dim];
                out.iter_mut().zip(mixed).for_each(|(out, mixed)| *out = mixed as f32);
            }
        }
    }
}

//! Expected attention: keys stay that the queries of the next tokens are likely to attend to.
//!
//! Queries before rotation have mean `m` and covariance `C` over the text so far. Turned by the average rotation `R` of the
//! next `future` positions, `m' = R m`, `C' = R C Rᵀ`, a normal query gives key `k_j` the expected weight
//! `a_j = softmax_j(s k_j·m' + s² k_jᵀ C' k_j / 2)`, `s` the scale of the scores, and
//! `score_j = ‖v_j‖₂ · mean a_j` over the query heads of a group. Devoto et al. 2025, arXiv:2510.00636.

use headwise_kernels::matrix::PackedMatrix;
use headwise_kernels::rope::Rope;

use super::limits::evicting;
use super::read::read;
use super::{Evictor, LayerStore, Limits, Needs, Protected, knorm};

evicting! {
    "expected_attention", reindex = false;
    /// Keeps the keys that future queries are expected to attend to.
    ///
    /// Future queries are taken as normal, with the mean and covariance of those so far; a key's expected attention is
    /// weighted with the length of its value. Needs no question in the prompt. Devoto et al. 2025, arXiv:2510.00636.
    pub struct ExpectedAttention {
        /// Next positions over which the rotation is averaged.
        pub future: usize = 512,
        /// First tokens that always stay.
        pub sinks: usize = 4,
    }
}

impl Evictor for ExpectedAttention {
    fn limits(&self) -> Result<Limits, String> {
        if self.future == 0 {
            return Err("`expected_attention`: future=0 leaves no query to expect: it must be at least 1".into());
        }
        self.shared_limits()
    }

    fn needs(&self) -> Needs {
        Needs { query_moments: true, ..Needs::default() }
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let (width, group) = (store.shape().head_dim, store.shape().group());
        let Some((spec, rope)) = store.attention() else {
            return store.pairs().iter().map(|pairs| vec![0.0; pairs.len()]).collect();
        };
        let turn = rope.map(|rope| AverageTurn::new(rope, store.tokens(), self.future));
        let futures: Vec<FutureQuery> = store
            .query_moments()
            .iter()
            .map(|moments| FutureQuery::new(moments.mean().to_vec(), moments.covariance(), turn.as_ref()))
            .collect();
        let heads = store.pairs().iter().zip(futures.chunks_exact(group));
        heads
            .map(|(pairs, futures)| {
                let (keys, values) = read(pairs, width);
                score(&keys, &values, futures, spec.scale, self.sinks)
            })
            .collect()
    }

    fn protected(&self, _budget: usize) -> Protected {
        Protected { sinks: self.sinks, recent: 0 }
    }
}

/// The average of a rotation over consecutive positions.
#[derive(Clone, Debug)]
pub struct AverageTurn {
    /// Mean cosine and sine of every pair of channels.
    turns: Vec<[f32; 2]>,
    interleaved: bool,
}

impl AverageTurn {
    /// The average of `rope` over the positions `first .. first + count`.
    pub fn new(rope: &Rope, first: usize, count: usize) -> Self {
        // Σ_n e^{i n f} is a geometric series: its sum points to the middle angle.
        let turn = |&frequency: &f32| {
            let half = f64::from(frequency) / 2.0;
            let (count, middle) = (count as f64, (2 * first + count - 1) as f64);
            let length = if half.sin() == 0.0 { 1.0 } else { (count * half).sin() / (count * half.sin()) };
            let length = length * f64::from(rope.attention_factor());
            let (sin, cos) = (middle * half).sin_cos();
            [(length * cos) as f32, (length * sin) as f32]
        };
        Self { turns: rope.inv_freq().iter().map(turn).collect(), interleaved: rope.interleaved() }
    }

    /// Turns `x` `[head_dim]`; channels beyond the rotary ones stay as they are.
    fn apply(&self, x: &mut [f32]) {
        for (pair, [cos, sin]) in self.turns.iter().enumerate() {
            let (a, b) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + self.turns.len()) };
            (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin);
        }
    }
}

/// The distribution of a head's queries at positions to come.
#[derive(Clone, Debug)]
pub struct FutureQuery {
    mean: Vec<f32>,
    covariance: Vec<f32>,
}

impl FutureQuery {
    /// Turns `mean` `[head_dim]` and the symmetric `covariance` `[head_dim, head_dim]` by `turn`; none leaves them.
    pub fn new(mut mean: Vec<f32>, mut covariance: Vec<f32>, turn: Option<&AverageTurn>) -> Self {
        if let Some(turn) = turn {
            turn.apply(&mut mean);
            for _ in 0..2 {
                covariance.chunks_exact_mut(mean.len()).for_each(|row| turn.apply(row));
                transpose(&mut covariance, mean.len());
            }
        }
        Self { mean, covariance }
    }

    /// Log of the expected `exp(scale · q·k)` for every key of `keys` `[slots, head_dim]`.
    fn expected_scores(&self, keys: &[f32], scale: f32) -> Vec<f32> {
        let width = self.mean.len();
        let slots = keys.len() / width;
        // One product gives every key's C k and, as one more output, its m·k.
        let rows = [&self.covariance[..], &self.mean[..]].concat();
        let mut products = vec![0.0; slots * (width + 1)];
        PackedMatrix::from_f32(&rows, width + 1, width).product(keys, slots, width, &mut products, width + 1);
        let score = |(key, products): (&[f32], &[f32])| {
            let spread: f32 = key.iter().zip(products).map(|(k, product)| k * product).sum();
            scale * products[width] + scale * scale * spread / 2.0
        };
        keys.chunks_exact(width).zip(products.chunks_exact(width + 1)).map(score).collect()
    }
}

fn transpose(matrix: &mut [f32], width: usize) {
    for row in 0..width {
        for column in 0..row {
            matrix.swap(row * width + column, column * width + row);
        }
    }
}

/// The score of every slot of a head from `keys` and `values` `[slots, head_dim]` and the future queries of its group. The
/// first `sinks` slots take no part and get zero.
pub fn score(keys: &[f32], values: &[f32], futures: &[FutureQuery], scale: f32, sinks: usize) -> Vec<f32> {
    let width = futures.first().map_or(1, |future| future.mean.len());
    let slots = keys.len() / width;
    let sinks = sinks.min(slots);
    let mut scores = vec![0.0; slots];
    for future in futures {
        let mut weights = future.expected_scores(&keys[sinks * width..], scale);
        softmax(&mut weights);
        scores[sinks..].iter_mut().zip(weights).for_each(|(score, weight)| *score += weight / futures.len() as f32);
    }
    scores.iter_mut().zip(values.chunks_exact(width)).for_each(|(score, value)| *score *= knorm::length(value));
    scores
}

fn softmax(x: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_turn_is_the_average_of_turns() {
        for interleaved in [false, true] {
            let rope = Rope::new(vec![1.0, 0.1, 1e-3, 0.0], 1.0, interleaved);
            let x: Vec<f32> = (0..10).map(|i| (i as f32 * 0.7).cos()).collect();
            let (first, count) = (37, 50);
            let mut mean = vec![0.0f64; 10];
            for position in first..first + count {
                let mut turned = x.clone();
                let layout = headwise_kernels::rope::HeadLayout { row_stride: 10, heads: 1, head_dim: 10 };
                rope.rotate(&mut turned, layout, &[position as i32]);
                mean.iter_mut().zip(turned).for_each(|(sum, x)| *sum += f64::from(x) / count as f64);
            }
            let mut turned = x;
            AverageTurn::new(&rope, first, count).apply(&mut turned);
            for (found, expected) in turned.iter().zip(mean) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn texts_no_longer_than_the_sinks_are_no_error() {
        let future = FutureQuery::new(vec![0.0; 2], vec![0.0; 4], None);
        assert_eq!(score(&[1.0, 2.0], &[1.0, 1.0], &[future], 1.0, 4), [0.0]);
        assert_eq!(score(&[], &[], &[], 1.0, 4), [0.0; 0]);
    }
}

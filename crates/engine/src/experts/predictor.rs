//! Foresees which experts of all layers a token passes, from it and the tokens before: a network of one hidden layer.
//!
//! It reads the vector of the token and the mean of those of the last tokens, and gives a probability for every expert of every layer in
//! one pass, before the first layer runs. It learns from recorded paths by binary cross-entropy. The published predictor is a small T5.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Path, Recent};

/// Channels of a token's vector.
const VECTOR: usize = 32;
/// Hidden channels.
const HIDDEN: usize = 128;
/// Samples of a step.
const BATCH: usize = 16;
/// Samples that are looked at in all, however many there are.
const LOOKS: usize = 60_000;
/// Times that a sample is looked at, if they are few.
const MOST_ROUNDS: usize = 20;
const LEARNING_RATE: f32 = 3e-3;

/// A token that was read, with what its text read before, and the experts that it passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The last tokens, this one last.
    pub recent: Recent,
    /// The experts.
    pub path: Path,
}

/// Foresees experts.
#[derive(Clone, Debug)]
pub struct Predictor {
    layers: usize,
    experts: usize,
    vectors: Weights,
    hidden: Weights,
    output: Weights,
}

/// What a sample is inside.
#[derive(Default)]
struct Inside {
    input: Vec<f32>,
    hidden: Vec<f32>,
    output: Vec<f32>,
}

impl Predictor {
    /// Learns from `samples`, whose paths have the same shape, for tokens below `vocabulary`.
    pub fn learn(samples: &[Sample], vocabulary: usize, seed: u64) -> Option<Self> {
        let [layers, experts] = samples.first()?.path.shape();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut predictor = Self {
            layers,
            experts,
            vectors: Weights::random(vocabulary, VECTOR, 1.0, &mut random),
            hidden: Weights::random(HIDDEN, 2 * VECTOR + 1, (2.0 * VECTOR as f32).powf(-0.5), &mut random),
            output: Weights::random(layers * experts, HIDDEN + 1, (HIDDEN as f32).powf(-0.5), &mut random),
        };
        let rounds = (LOOKS / samples.len()).clamp(1, MOST_ROUNDS);
        let steps = rounds * samples.len().div_ceil(BATCH);
        let mut order: Vec<usize> = (0..samples.len()).collect();
        let mut step = 0;
        for _ in 0..rounds {
            order.shuffle(&mut random);
            for batch in order.chunks(BATCH) {
                batch.iter().for_each(|&sample| predictor.gather(&samples[sample]));
                let rate = LEARNING_RATE * (1.0 - step as f32 / steps as f32);
                [&mut predictor.vectors, &mut predictor.hidden, &mut predictor.output]
                    .into_iter()
                    .for_each(|weights| weights.step(rate));
                step += 1;
            }
        }
        Some(predictor)
    }

    /// Mixtures, and experts of each at most.
    pub fn shape(&self) -> [usize; 2] {
        [self.layers, self.experts]
    }

    /// The probability of every expert, `[layers, experts]`, for a token.
    pub fn probabilities(&self, recent: &Recent) -> Vec<f32> {
        self.look(recent).output
    }

    /// The `most` likeliest experts of every layer, and all others from a probability of `cut` on.
    pub fn path(&self, recent: &Recent, most: usize, cut: f64) -> Path {
        let mut path = Path::new(self.layers, self.experts);
        for (layer, row) in self.probabilities(recent).chunks_exact(self.experts.max(1)).enumerate() {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            let expected = order.iter().enumerate().filter(|&(place, &at)| place < most || f64::from(row[at]) >= cut);
            expected.for_each(|(_, &expert)| path.insert(layer, expert));
        }
        path
    }

    /// The share of what `samples` passed that was among the `most` likeliest of its layer, 0–1.
    pub fn accuracy(&self, samples: &[Sample], most: usize) -> f64 {
        let (mut found, mut all) = (0, 0);
        for Sample { recent, path } in samples {
            // No probability is above 1.
            let expected = self.path(recent, most, 2.0);
            for layer in 0..self.layers {
                let passed = path.of_layer(layer);
                all += passed.len();
                found += passed.into_iter().filter(|&expert| expected.contains(layer, expert)).count();
            }
        }
        f64::from(found as u32) / f64::from(all.max(1) as u32)
    }

    fn look(&self, recent: &Recent) -> Inside {
        let mut inside = Inside { input: vec![0.0; 2 * VECTOR + 1], ..Inside::default() };
        let ids = recent.ids();
        inside.input[2 * VECTOR] = 1.0;
        for (place, &id) in ids.iter().enumerate() {
            let Some(vector) = self.vectors.row(id as usize) else { continue };
            if place + 1 == ids.len() {
                inside.input[..VECTOR].copy_from_slice(vector);
            }
            let share = 1.0 / ids.len() as f32;
            inside.input[VECTOR..2 * VECTOR].iter_mut().zip(vector).for_each(|(mean, value)| *mean += share * value);
        }
        inside.hidden = self.hidden.times(&inside.input).map(|value| value.max(0.0)).collect();
        inside.hidden.push(1.0);
        inside.output = self.output.times(&inside.hidden).map(|value| 1.0 / (1.0 + (-value).exp())).collect();
        inside
    }

    /// Adds the gradients of a sample.
    fn gather(&mut self, Sample { recent, path }: &Sample) {
        let Inside { input, hidden, output } = self.look(recent);
        let mut d_hidden = vec![0.0; HIDDEN + 1];
        for (at, &probability) in output.iter().enumerate() {
            let passed = path.contains(at / self.experts, at % self.experts);
            let d = (probability - f32::from(u8::from(passed))) / BATCH as f32;
            self.output.add(at, d, &hidden, &mut d_hidden);
        }
        let mut d_input = vec![0.0; 2 * VECTOR + 1];
        for at in (0..HIDDEN).filter(|&at| hidden[at] > 0.0) {
            self.hidden.add(at, d_hidden[at], &input, &mut d_input);
        }
        let ids = recent.ids();
        for (place, &id) in ids.iter().enumerate() {
            let mut d: Vec<f32> = d_input[VECTOR..2 * VECTOR].iter().map(|d| d / ids.len() as f32).collect();
            if place + 1 == ids.len() {
                d.iter_mut().zip(&d_input[..VECTOR]).for_each(|(d, own)| *d += own);
            }
            self.vectors.add_row(id as usize, &d);
        }
    }
}

/// A matrix with what Adam keeps of its gradients. Rows without gradients rest.
#[derive(Clone, Debug)]
struct Weights {
    columns: usize,
    values: Vec<f32>,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// Rows that have a gradient.
    moved: Vec<bool>,
    steps: i32,
}

impl Weights {
    fn random(rows: usize, columns: usize, size: f32, random: &mut ChaCha8Rng) -> Self {
        let zeros = || vec![0.0; rows * columns];
        let values = (0..rows * columns).map(|_| random.random_range(-size..size)).collect();
        let moved = vec![false; rows];
        Self { columns, values, gradient: zeros(), mean: zeros(), square: zeros(), moved, steps: 0 }
    }

    fn row(&self, row: usize) -> Option<&[f32]> {
        self.values.get(row * self.columns..(row + 1) * self.columns)
    }

    fn times<'a>(&'a self, x: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.values.chunks_exact(self.columns).map(move |row| row.iter().zip(x).map(|(weight, x)| weight * x).sum())
    }

    /// Adds the gradient of row `row` that had `x`, and to `dx` what it owes to `x`.
    fn add(&mut self, row: usize, d: f32, x: &[f32], dx: &mut [f32]) {
        let at = row * self.columns..(row + 1) * self.columns;
        dx.iter_mut().zip(&self.values[at.clone()]).for_each(|(dx, weight)| *dx += d * weight);
        self.gradient[at].iter_mut().zip(x).for_each(|(gradient, x)| *gradient += d * x);
        self.moved[row] = true;
    }

    fn add_row(&mut self, row: usize, d: &[f32]) {
        let Some(gradient) = self.gradient.get_mut(row * self.columns..(row + 1) * self.columns) else { return };
        gradient.iter_mut().zip(d).for_each(|(gradient, d)| *gradient += d);
        self.moved[row] = true;
    }

    /// A step of Adam for the rows that have a gradient.
    fn step(&mut self, rate: f32) {
        const DECAY: [f32; 2] = [0.9, 0.99];
        self.steps += 1;
        let [mean_share, square_share] = DECAY.map(|decay| 1.0 - decay.powi(self.steps));
        for row in 0..self.moved.len() {
            if !std::mem::take(&mut self.moved[row]) {
                continue;
            }
            for at in row * self.columns..(row + 1) * self.columns {
                let gradient = std::mem::take(&mut self.gradient[at]);
                self.mean[at] += (1.0 - DECAY[0]) * (gradient - self.mean[at]);
                self.square[at] += (1.0 - DECAY[1]) * (gradient * gradient - self.square[at]);
                let size = (self.square[at] / square_share).sqrt() + 1e-8;
                self.values[at] -= rate * self.mean[at] / mean_share / size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts whose tokens pass experts by their number, and in the second layer by the kind of the text.
    fn samples(count: usize, seed: u64) -> Vec<Sample> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Vec::new();
        while all.len() < count {
            let (kind, mut recent) = (random.random_range(0..2u32), Recent::default());
            for _ in 0..20 {
                // Even tokens tell the kind, the last ones are in all texts.
                let id = if random.random_bool(0.5) {
                    12 + random.random_range(0..4)
                } else {
                    6 * kind + random.random_range(0..6)
                };
                recent.push(id);
                let mut path = Path::new(2, 4);
                path.insert(0, id as usize % 4);
                path.insert(1, kind as usize);
                all.push(Sample { recent, path });
            }
        }
        all
    }

    #[test]
    fn what_depends_on_tokens_and_texts_is_learnt() {
        let predictor = Predictor::learn(&samples(2000, 1), 16, 7).unwrap();
        let accuracy = predictor.accuracy(&samples(500, 2), 1);
        assert!(accuracy > 0.95, "{accuracy}");
        let guess = Predictor::learn(&samples(20, 1)[..1], 16, 7).unwrap().accuracy(&samples(500, 2), 1);
        assert!(guess < 0.8, "{guess}");
    }

    #[test]
    fn the_same_seed_learns_the_same_and_no_token_is_too_large() {
        let learn = || Predictor::learn(&samples(200, 1), 16, 7).unwrap().probabilities(&Recent::default().with(3));
        assert_eq!(learn(), learn());
        let predictor = Predictor::learn(&samples(40, 1), 16, 7).unwrap();
        assert_eq!(predictor.probabilities(&Recent::default().with(99)).len(), 8);
        assert!(Predictor::learn(&[], 16, 7).is_none());
    }

    #[test]
    fn the_likeliest_are_expected_and_what_is_above_the_cut() {
        let predictor = Predictor::learn(&samples(2000, 1), 16, 7).unwrap();
        let recent = Recent::default().with(0).with(2);
        assert_eq!(predictor.path(&recent, 1, 2.0).of_layer(0), [2]);
        assert_eq!(predictor.path(&recent, 0, 0.5).of_layer(0), [2]);
        assert_eq!(predictor.path(&recent, 3, 0.5).of_layer(1).len(), 3);
        assert_eq!(predictor.path(&recent, 0, 1e-9).of_layer(0).len(), 4);
    }
}

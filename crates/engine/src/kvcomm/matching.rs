//! How near a text is to anchors, by what both have in every layer.

use headwise_kernels::parallel;

use super::raw::{RawLayer, RawPairs};

/// Weights of anchors for a text.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// Index of every anchor that counts.
    pub anchors: Vec<usize>,
    /// Of every token's keys and values in the text itself, `[anchors][tokens]`.
    pub tokens: [Vec<Vec<f32>>; 2],
    /// Of every channel's keys and values in what follows it, `[layers][anchors][kv_heads · head_dim]`.
    pub channels: [Vec<Vec<Vec<f32>>>; 2],
}

/// How far a text is from every anchor.
pub(super) struct Distances {
    /// Of all values together.
    pub values: Vec<f64>,
    tokens: [Vec<Vec<f32>>; 2],
    channels: [Vec<Vec<Vec<f32>>>; 2],
}

#[derive(Default)]
struct LayerDistances {
    /// Sum of squares over all values, by anchor.
    squares: Vec<f64>,
    /// Sum of absolute differences of keys, and of values, `[anchors][tokens]`.
    tokens: [Vec<Vec<f32>>; 2],
    /// Root of the sum of squares over tokens, `[anchors][channels]`.
    channels: [Vec<Vec<f32>>; 2],
}

impl Distances {
    /// Of `text` from `anchors`, which are at least as long.
    pub fn new(text: &RawPairs, anchors: &[&RawPairs]) -> Self {
        let mut layers: Vec<LayerDistances> = Vec::new();
        layers.resize_with(text.layers.len(), LayerDistances::default);
        parallel::pieces(&mut layers, 1, |layer, distances| {
            let anchors = anchors.iter().map(|anchor| &anchor.layers[layer]);
            distances[0] = LayerDistances::new(&text.layers[layer], anchors, text.tokens);
        });
        let mut values = vec![0.0; anchors.len()];
        let mut tokens = [0, 1].map(|_| vec![vec![0.0f32; text.tokens]; anchors.len()]);
        let mut numbers = 0;
        for layer in &layers {
            numbers += layer.channels[0].first().map_or(0, Vec::len);
            values.iter_mut().zip(&layer.squares).for_each(|(sum, square)| *sum += square);
            for (sums, of_layer) in tokens.iter_mut().flatten().zip(layer.tokens.iter().flatten()) {
                sums.iter_mut().zip(of_layer).for_each(|(sum, value)| *sum += value);
            }
        }
        values.iter_mut().for_each(|sum| *sum = f64::sqrt(*sum));
        tokens.iter_mut().flatten().flatten().for_each(|sum| *sum /= numbers.max(1) as f32);
        let mut channels = [Vec::new(), Vec::new()];
        for layer in layers {
            channels.iter_mut().zip(layer.channels).for_each(|(channels, of_layer)| channels.push(of_layer));
        }
        Self { values, tokens, channels }
    }

    /// The weights of the anchors, whose indices are `anchors`.
    pub fn weights(mut self, anchors: Vec<usize>, temperature: f32) -> Weights {
        self.tokens.iter_mut().for_each(|distances| nearness(distances, temperature));
        self.channels.iter_mut().flatten().for_each(|distances| nearness(distances, temperature));
        Weights { anchors, tokens: self.tokens, channels: self.channels }
    }
}

impl Weights {
    /// Those of one anchor that is the text itself.
    pub fn of_itself(anchor: usize, text: &RawPairs) -> Self {
        let channels = || text.layers.iter().map(|layer| vec![vec![1.0; text.width(&layer.keys)]]).collect();
        let tokens = || vec![vec![1.0; text.tokens]];
        Self { anchors: vec![anchor], tokens: [tokens(), tokens()], channels: [channels(), channels()] }
    }
}

impl LayerDistances {
    fn new<'a>(text: &RawLayer, anchors: impl Iterator<Item = &'a RawLayer>, tokens: usize) -> Self {
        let mut distances = Self::default();
        let own = [&text.keys, &text.values].map(|numbers| numbers.first(numbers.len()));
        for anchor in anchors {
            for (which, (own, its)) in own.iter().zip([&anchor.keys, &anchor.values]).enumerate() {
                let (width, its) = (own.len() / tokens, its.first(own.len()));
                let mut squares = vec![0.0f32; width];
                let mut sums = Vec::with_capacity(tokens);
                for (own, its) in own.chunks_exact(width).zip(its.chunks_exact(width)) {
                    let mut sum = 0.0;
                    for ((square, own), its) in squares.iter_mut().zip(own).zip(its) {
                        let difference = own - its;
                        *square += difference * difference;
                        sum += difference.abs();
                    }
                    sums.push(sum);
                }
                if which == 1 {
                    distances.squares.push(squares.iter().map(|&square| f64::from(square)).sum());
                }
                squares.iter_mut().for_each(|square| *square = square.sqrt());
                distances.tokens[which].push(sums);
                distances.channels[which].push(squares);
            }
        }
        distances
    }
}

/// Turns the distances `[anchors][places]` into weights that sum to one at every place.
fn nearness(distances: &mut [Vec<f32>], temperature: f32) {
    let places = distances.first().map_or(0, Vec::len);
    for place in 0..places {
        let least = distances.iter().map(|of| of[place]).fold(f32::INFINITY, f32::min);
        let mut sum = 0.0;
        for of in distances.iter_mut() {
            of[place] = ((least - of[place]) / temperature).exp();
            sum += of[place];
        }
        distances.iter_mut().for_each(|of| of[place] /= sum);
    }
}

/// How likely each of the anchors at `distances` is the nearest, and the entropy of that in bits.
pub(super) fn likeness(distances: &[f64]) -> (Vec<f64>, f64) {
    let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = distances.iter().map(|distance| (least - distance).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    let entropy = shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.log2()).sum();
    (shares, entropy)
}

//! Texts whose tokens pass experts by their topic: what a router that has learnt topics does, without a model.

use headwise_engine::experts::{Path, Recent, Sample};
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Mixtures of the model.
pub const LAYERS: usize = 8;
/// Experts of each.
pub const EXPERTS: usize = 16;
/// Experts that a token passes.
pub const ACTIVE: usize = 2;
/// Experts that a topic prefers in a layer.
const PREFERRED: usize = 4;
/// Words that only one topic has, and words that all have.
const WORDS: usize = 16;
/// Topics at most.
const TOPICS: usize = 4;
/// Tokens that there are.
pub const VOCABULARY: usize = WORDS * (TOPICS + 1);
/// Tokens of a text.
const LENGTH: usize = 60;

/// Texts whose tokens pass experts by their topic.
pub struct World {
    topics: usize,
    /// Share of routes that are random.
    noise: f64,
    /// By topic and layer.
    preferred: Vec<Vec<Vec<usize>>>,
    /// By token and layer: which of the preferred experts it passes.
    picks: Vec<Vec<[usize; ACTIVE]>>,
}

impl World {
    /// A world of so many topics; `noise` is the share of routes that are random.
    pub fn new(seed: u64, topics: usize, noise: f64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let topics = topics.min(TOPICS);
        let mut some = |of: usize, count: usize| sample(&mut random, of, count).into_vec();
        let preferred = (0..topics).map(|_| (0..LAYERS).map(|_| some(EXPERTS, PREFERRED)).collect()).collect();
        let pick = |some: &mut dyn FnMut(usize, usize) -> Vec<usize>| {
            let chosen = some(PREFERRED, ACTIVE);
            [chosen[0], chosen[1]]
        };
        let picks = (0..VOCABULARY).map(|_| (0..LAYERS).map(|_| pick(&mut some)).collect()).collect();
        Self { topics, noise, preferred, picks }
    }

    /// `count` tokens of texts, one text after the other, with the experts that they pass.
    pub fn samples(&self, count: usize, seed: u64) -> Vec<Sample> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut samples = Vec::with_capacity(count);
        while samples.len() < count {
            let (topic, mut recent) = (random.random_range(0..self.topics), Recent::default());
            for _ in 0..LENGTH.min(count - samples.len()) {
                let id = self.word(topic, &mut random);
                recent.push(id);
                samples.push(Sample { recent, path: self.route(topic, id, &mut random) });
            }
        }
        samples
    }

    /// What one token of each of `count` texts passes, each of a random topic.
    pub fn paths(&self, count: usize, random: &mut ChaCha8Rng) -> Vec<Path> {
        let path = |_| {
            let topic = random.random_range(0..self.topics);
            let id = self.word(topic, random);
            self.route(topic, id, random)
        };
        (0..count).map(path).collect()
    }

    /// A word of the topic, or as often one that all topics have.
    fn word(&self, topic: usize, random: &mut ChaCha8Rng) -> u32 {
        let of = if random.random_bool(0.5) { topic } else { TOPICS };
        (of * WORDS + random.random_range(0..WORDS)) as u32
    }

    fn route(&self, topic: usize, id: u32, random: &mut ChaCha8Rng) -> Path {
        let mut path = Path::new(LAYERS, EXPERTS);
        for layer in 0..LAYERS {
            for pick in self.picks[id as usize][layer] {
                let random_route = random.random_bool(self.noise);
                let expert = self.preferred[topic][layer][pick];
                path.insert(layer, if random_route { random.random_range(0..EXPERTS) } else { expert });
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_to_its_experts() {
        let world = World::new(3, 2, 0.0);
        let mut of_topic = Path::new(LAYERS, EXPERTS);
        for sample in world.samples(LENGTH, 5) {
            assert!((0..LAYERS).all(|layer| sample.path.of_layer(layer).len() == ACTIVE));
            of_topic.join(&sample.path);
        }
        assert!((0..LAYERS).all(|layer| of_topic.of_layer(layer).len() == PREFERRED));
        assert_eq!(world.samples(50, 5), world.samples(50, 5));
        let noisy: usize = World::new(3, 2, 1.0)
            .samples(LENGTH, 5)
            .iter()
            .fold(of_topic, |mut all, sample| {
                all.join(&sample.path);
                all
            })
            .of_layer(0)
            .len();
        assert_eq!(noisy, EXPERTS);
    }
}

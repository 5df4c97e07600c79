//! Supernets: a model whose parts are models too. A step trains several of them, which share their weights.

use headwise_models::compress::{Space, Subnet};
use headwise_models::decoder::{Decoder, DecoderSpec};

use crate::draws::{Purpose, draws};

headwise_spec::family! {
    /// Which parts of a model a step trains.
    pub enum Supernet: "supernet" {
        sandwich => Sandwich,
    }
}

headwise_spec::method! {
    /// In every step the whole model, its smallest part, and some at random.
    ///
    /// A part has the first heads and hidden channels of each layer, and leaves layers out; `prune --method evolve` finds the best one
    /// within a number of weights. A step takes as many forwards as it trains parts. Yu and Huang 2019, arXiv:1903.05134; AutoFormer, Chen et
    /// al. 2021, arXiv:2107.00651.
    pub struct Sandwich {
        /// Widths of a layer.
        pub steps: usize = 4,
        /// Parts drawn at random in every step, beside the largest and the smallest.
        pub random: usize = 2,
    }
}

impl Supernet {
    /// The parts that there are of a model as `spec` says; else what is wrong.
    pub fn space(&self, spec: &DecoderSpec) -> Result<Space, String> {
        let Self::Sandwich(Sandwich { steps, .. }) = self;
        Space::of(spec, *steps).map_err(|error| error.to_string())
    }

    /// The parts of step `step`, the largest first.
    pub fn of_step(&self, space: &Space, seed: u64, step: u64) -> Vec<Subnet> {
        let Self::Sandwich(Sandwich { random, .. }) = self;
        let mut draws = draws(seed, Purpose::Subnet, step, 0);
        let drawn = (0..*random).map(|_| space.random(&mut draws));
        [space.largest(), space.smallest()].into_iter().chain(drawn).collect()
    }
}

/// The parts of the model of a run.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    supernet: Supernet,
    space: Space,
    seed: u64,
}

impl Parts {
    pub fn new(supernet: Supernet, spec: &DecoderSpec, seed: u64) -> Result<Self, String> {
        Ok(Self { space: supernet.space(spec)?, supernet, seed })
    }

    /// The parts of `model` that a step trains: gradients reach its weights.
    pub fn of_step(&self, model: &Decoder, step: u64) -> Vec<Decoder> {
        let subnets = self.supernet.of_step(&self.space, self.seed, step);
        subnets.iter().map(|subnet| self.space.cut(subnet, model)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Supernet>();
    }

    #[test]
    fn every_step_has_the_largest_and_the_smallest_and_others_of_its_own() {
        let spec: DecoderSpec = toml::from_str(
            "vocabulary = 8\ndim = 16\ncontext = 8\nepsilon = 1e-5\nlayers = \
             [{ mixer = \"softmax(heads=4)\", channel = \"gated(hidden=64)\" }]",
        )
        .unwrap();
        let supernet = Supernet::from(Sandwich::default());
        let space = supernet.space(&spec).unwrap();
        let steps: Vec<Vec<Subnet>> = (0..8).map(|step| supernet.of_step(&space, 1, step)).collect();
        assert!(steps.iter().all(|parts| parts.len() == 4 && parts[..2] == [space.largest(), space.smallest()]));
        assert_eq!(steps[3], supernet.of_step(&space, 1, 3));
        assert!(steps.iter().any(|parts| parts[2..] != steps[0][2..]));
    }
}

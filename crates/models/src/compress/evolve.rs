//! An evolutionary search for the part of a supernet that predicts best within a number of weights.
//!
//! Weights stand for time: a token of a small model takes as long as reading them. Wang et al. 2020 (HAT), arXiv:2005.14187; Chen et al. 2021
//! (AutoFormer), arXiv:2107.00651.

use std::collections::HashMap;

use burn::tensor::Device;
use headwise_kernels::loss::Targets;
use headwise_nn::mixer::Segment;
use headwise_ops::{CutSettings, cut_cross_entropy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Calibration, CompressError, Space, Step, Subnet};
use crate::decoder::Decoder;

headwise_spec::method! {
    /// Searches the parts of a supernet for the one that predicts best with few weights.
    ///
    /// For models trained with `supernet`; the first heads and channels of other models are no better than the rest. Needs a calibration
    /// text. HAT, Wang et al. 2020, arXiv:2005.14187; AutoFormer, Chen et al. 2021, arXiv:2107.00651.
    pub struct Evolve {
        /// Share of the weights of the layers that go, at least.
        pub share: f64 = 0.5,
        /// Widths of a layer, as in training.
        pub steps: usize = 4,
        /// Parts of a generation.
        pub population: usize = 24,
        /// Generations after the first, which is drawn at random.
        pub generations: usize = 8,
        /// The chance that a layer of a child changes at random.
        pub mutation: f64 = 0.2,
        /// Windows of the calibration text by which parts are judged.
        pub judged: usize = 2,
        /// Of what is drawn at random.
        pub seed: u64 = 0,
    }
}

impl Evolve {
    /// An error if the parameters make no method.
    pub(super) fn check(&self) -> Result<(), CompressError> {
        for (name, value) in [("steps", self.steps), ("population", self.population), ("judged", self.judged)] {
            if value == 0 {
                return Err(CompressError::Method(format!("{name}=0: it must be at least 1")));
            }
        }
        match (0.0..=1.0).contains(&self.mutation) {
            true => Ok(()),
            false => {
                Err(CompressError::Method(format!("mutation={}: it must be at least 0 and at most 1", self.mutation)))
            }
        }
    }

    /// The best part that was found, its mean loss, and how many were judged. `judged` is told of every one.
    pub fn search(
        &self,
        model: &Decoder,
        calibration: &Calibration,
        judged: &mut dyn FnMut(),
    ) -> Result<(Subnet, f64, usize), CompressError> {
        self.check()?;
        let space = Space::of(model.spec(), self.steps)?;
        let most = (space.weights(&space.largest()) as f64 * (1.0 - self.share)) as usize;
        let least = space.weights(&space.smallest());
        if most < least {
            let whole = space.weights(&space.largest());
            let text = format!(
                "share={}: the smallest part has {least} of {whole} weights, so at most {:.3} can go; more steps are finer",
                self.share,
                1.0 - least as f64 / whole as f64
            );
            return Err(CompressError::Method(text));
        }
        let text = calibration.first(self.judged);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut losses: HashMap<Subnet, f64> = HashMap::new();
        let mut judge = |subnet: &Subnet| {
            let of = |subnet: &Subnet| loss(&space.extracted(subnet, model), &text);
            let loss = *losses.entry(subnet.clone()).or_insert_with_key(of);
            judged();
            (loss, subnet.clone())
        };
        let drawn: Vec<Subnet> = (0..self.population)
            .map(|_| {
                let drawn = space.random(&mut random);
                space.within(drawn, most, &mut random)
            })
            .collect();
        let mut all: Vec<(f64, Subnet)> = drawn.iter().map(&mut judge).collect();
        for _ in 0..self.generations {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            // The best quarter lives on, and all others are its children.
            all.truncate(self.population.div_ceil(4));
            let parents = all.len();
            while all.len() < self.population {
                let [first, second] = [(); 2].map(|()| random.random_range(0..parents));
                let child = space.crossed([&all[first].1, &all[second].1], &mut random);
                let child = space.mutated(&child, self.mutation, &mut random);
                let child = space.within(child, most, &mut random);
                all.push(judge(&child));
            }
        }
        let (loss, best) = all.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("a population has members");
        Ok((best, loss, losses.len()))
    }
}

/// Leaves the best part.
pub(super) fn run(
    method: &Evolve,
    model: &mut Decoder,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step),
) -> Result<String, CompressError> {
    let children = method.population - method.population.div_ceil(4);
    let parts = method.population + method.generations * children;
    let mut done = 0;
    let (best, loss, count) = method.search(model, calibration, &mut || {
        done += 1;
        progress(Step { done, parts });
    })?;
    let space = Space::of(model.spec(), method.steps)?;
    let share = space.weights(&best) as f64 / space.weights(&space.largest()) as f64;
    let [kept, layers] = space.depth(&best);
    *model = space.extracted(&best, model);
    Ok(format!(
        "{kept} of {layers} layers with {:.1} % of their weights; a mean loss of {loss:.4}, the least of {count} parts",
        100.0 * share
    ))
}

/// The mean loss of the texts.
fn loss(model: &Decoder, text: &Calibration) -> f64 {
    let device = Device::flex();
    let of = |ids: &[u32]| {
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let hidden = model.hidden(ids, &positions, &[Segment { sequence: 0, rows: 0..ids.len() }], &device);
        let tokens: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let targets = Targets::shifted(&tokens, tokens.len(), 1);
        let found = cut_cross_entropy(hidden, model.classifier(), None, &targets, &CutSettings::default());
        f64::from(found.loss.into_scalar::<f32>())
    };
    text.windows().map(of).sum::<f64>() / text.windows().len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "vocabulary = 24\ndim = 32\ncontext = 64\nepsilon = 1e-5\ntied = true\nlayers = [\
        { mixer = \"softmax(heads=4)\", channel = \"gated(hidden=64)\" }, \
        { mixer = \"softmax(heads=4)\", channel = \"gated(hidden=64)\" }, \
        { mixer = \"softmax(heads=4)\", channel = \"gated(hidden=64)\" }]";

    fn model() -> Decoder {
        let model = Decoder::random(toml::from_str(SPEC).unwrap(), &Device::flex()).unwrap();
        headwise_nn::named::read(&model);
        model
    }

    fn calibration() -> Calibration {
        let ids: Vec<u32> = (0..64).map(|at| at * at * 5 % 24).collect();
        Calibration::new(&ids, 64, 32).unwrap()
    }

    /// The loss of the best part of `model` after so many generations.
    fn searched(model: &Decoder, calibration: &Calibration, generations: usize) -> f64 {
        let space = Space::of(model.spec(), 4).unwrap();
        let method = Evolve { population: 8, generations, seed: 3, ..Evolve::default() };
        let mut judged = 0;
        let (best, loss, count) = method.search(model, calibration, &mut || judged += 1).unwrap();
        assert_eq!(judged, 8 + 6 * generations);
        assert!(count <= judged && 2 * space.weights(&best) <= space.weights(&space.largest()));
        assert!((super::loss(&space.extracted(&best, model), calibration) - loss).abs() < 1e-9);
        loss
    }

    #[test]
    fn the_search_keeps_to_its_weights_and_gets_no_worse() {
        let calibration = calibration();
        // The first generation may hold the best part of a model already, but not of all of them.
        let better = (0..6).filter(|_| {
            let model = model();
            let losses = [0, 1, 4].map(|generations| searched(&model, &calibration, generations));
            assert!(losses[0] >= losses[1] && losses[1] >= losses[2], "{losses:?}");
            losses[2] < losses[0]
        });
        assert!(better.count() > 0);
    }

    #[test]
    fn the_best_part_is_a_model_and_too_small_a_part_is_named() {
        let (model, calibration) = (model(), calibration());
        let mut smaller = model.clone();
        let method = Evolve { population: 4, generations: 1, ..Evolve::default() };
        let said = run(&method, &mut smaller, &calibration, &mut |_| {});
        assert!(said.unwrap().contains("layers with"));
        assert_eq!(smaller.spec().check(), Ok(()));
        let error = Evolve { share: 0.95, ..Evolve::default() }.search(&model, &calibration, &mut || {}).unwrap_err();
        assert!(error.to_string().contains("share=0.95"), "{error}");
    }
}

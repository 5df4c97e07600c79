//! Optimisers, each for Burn's `ModuleOptimizer`.

mod adamw;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdjustLrFn, ModuleOptimizer, MuonConfig, SgdConfig};
use burn::tensor::Tensor;

pub use adamw::AdamW;

headwise_spec::family! {
    /// What turns gradients into new weights.
    pub enum OptimiserSpec: "optimiser" {
        adamw => AdamWSpec,
        muon => MuonSpec,
        sgd => SgdSpec,
    }
}

headwise_spec::method! {
    /// Adam with weight decay apart from the gradient.
    ///
    /// Loshchilov and Hutter 2019, arXiv:1711.05101.
    pub struct AdamWSpec {
        /// Largest learning rate.
        pub learning_rate: f64 = 1e-3,
        /// The share of the first moment that stays.
        pub beta_1: f64 = 0.9,
        /// The share of the second moment that stays.
        pub beta_2: f64 = 0.95,
        /// Added to the root of the second moment.
        pub epsilon: f64 = 1e-8,
        /// The share of the weights of matrices that a learning rate of 1 takes off in a step; vectors do not decay.
        pub weight_decay: f64 = 0.1,
    }
}

headwise_spec::method! {
    /// Momentum made orthogonal, for the matrices of the layers; AdamW for everything else.
    ///
    /// Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982.
    pub struct MuonSpec {
        /// Largest learning rate, in the measure of AdamW.
        pub learning_rate: f64 = 2e-3,
        /// The share of the momentum that stays.
        pub momentum: f64 = 0.95,
        /// The share of the weights of matrices that a learning rate of 1 takes off in a step; vectors do not decay.
        pub weight_decay: f64 = 0.1,
    }
}

headwise_spec::method! {
    /// Stochastic gradient descent, with momentum if wanted.
    pub struct SgdSpec {
        /// Largest learning rate.
        pub learning_rate: f64 = 0.1,
        /// The share of the momentum that stays; 0 has none.
        pub momentum: f64 = 0.0,
    }
}

impl OptimiserSpec {
    /// Largest learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::AdamWSpec(spec) => spec.learning_rate,
            Self::MuonSpec(spec) => spec.learning_rate,
            Self::SgdSpec(spec) => spec.learning_rate,
        }
    }

    /// The optimiser for `model`, whose parameters keep their ids.
    pub fn build<M: Module>(&self, model: &M) -> ModuleOptimizer {
        let groups = Groups::of(model);
        match self {
            Self::AdamWSpec(spec) => {
                let AdamWSpec { beta_1, beta_2, epsilon, weight_decay, .. } = *spec;
                let with = |weight_decay| AdamW { beta_1, beta_2, epsilon, weight_decay };
                ModuleOptimizer::from(with(weight_decay)).with_group(
                    ParamGroup::from_ids(groups.vectors),
                    with(0.0),
                    None,
                )
            }
            Self::MuonSpec(spec) => {
                let adamw = AdamW { beta_2: 0.95, weight_decay: spec.weight_decay, ..AdamW::default() };
                let plain = AdamW { weight_decay: 0.0, ..adamw };
                let momentum = MomentumConfig { momentum: spec.momentum, dampening: 0.0, nesterov: true };
                let muon = MuonConfig::new()
                    .with_momentum(momentum)
                    .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
                    .with_weight_decay(Some(burn::optim::decay::WeightDecayConfig::new(spec.weight_decay as f32)))
                    .build();
                ModuleOptimizer::from(adamw).with_group(ParamGroup::from_ids(groups.vectors), plain, None).with_group(
                    ParamGroup::from_ids(groups.matrices),
                    muon,
                    None,
                )
            }
            Self::SgdSpec(spec) => {
                let momentum = MomentumConfig { momentum: spec.momentum, dampening: 0.0, nesterov: false };
                SgdConfig::new().with_momentum((spec.momentum > 0.0).then_some(momentum)).init()
            }
        }
    }

    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name}={value}: it must be at least 0 and below 1")),
        };
        let rate = self.learning_rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(format!("learning_rate={rate}: it must be a finite number above 0"));
        }
        match self {
            Self::AdamWSpec(spec) => share("beta_1", spec.beta_1).and_then(|()| share("beta_2", spec.beta_2)),
            Self::MuonSpec(spec) => share("momentum", spec.momentum),
            Self::SgdSpec(spec) => share("momentum", spec.momentum),
        }
    }
}

/// The parameters of a model by what optimisers do with them.
#[derive(Default)]
struct Groups {
    /// Scales and biases.
    vectors: Vec<ParamId>,
    /// Matrices inside layers, not embeddings or output heads.
    matrices: Vec<ParamId>,
    path: Vec<String>,
}

impl Groups {
    fn of<M: Module>(model: &M) -> Self {
        let mut groups = Self::default();
        model.visit(&mut groups);
        groups
    }
}

impl ModuleVisitor for Groups {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let outer = self.path.first().is_some_and(|name| name == "embedding" || name == "head");
        match D {
            0 | 1 => self.vectors.push(param.id),
            2 if !outer => self.matrices.push(param.id),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::OptimiserSpec>();
    }
}

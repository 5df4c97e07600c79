//! Mixture of experts: gated layers of which a router chooses a few for every token.
//!
//! `y = Σ_{e ∈ T} softmax_T(W_router x)_e · gated_e(x)` with `T` the `active` experts of the highest scores. A token is never dropped,
//! whatever the others choose, and its experts are added in ascending order: a row has the same bits whatever other rows there are.
//! Shazeer et al. 2017, arXiv:1701.06538; the softmax over the chosen ones is Mixtral's, arXiv:2401.04088.

mod experts;
mod routes;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use headwise_ops::host::{self, Host};

pub use experts::{Elsewhere, ExpertSource, Experts};
pub use routes::Routes;

use super::{Gate, Gated, GatedSpec};
use crate::Linear;

headwise_spec::method! {
    /// Gated layers of which a router chooses a few for every token: a mixture of experts.
    ///
    /// Shazeer et al. 2017, arXiv:1701.06538; Mixtral, arXiv:2401.04088.
    pub struct MoeSpec {
        /// Gated layers to choose from.
        pub experts: usize = 8,
        /// How many of them a token passes.
        pub active: usize = 2,
        /// Inner width of each.
        pub hidden: usize = 256,
        /// Activation of their gates.
        pub gate: Gate = Gate::Silu,
        /// Weight of the loss that keeps experts equally busy, in training: that of Switch Transformers, arXiv:2101.03961.
        pub balance: f64 = 0.01,
    }
}

impl MoeSpec {
    /// Whether a layer can be built; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let Self { experts, active, balance, .. } = *self;
        match () {
            () if experts == 0 => Err("experts is 0: it must be at least 1".into()),
            () if active == 0 || active > experts => {
                Err(format!("active is {active}: it must be at least 1 and at most {experts}, the number of experts"))
            }
            () if !(balance.is_finite() && balance >= 0.0) => {
                Err(format!("balance is {balance}: it must be a finite number and not below 0"))
            }
            () => Ok(()),
        }
    }

    /// One of the experts.
    fn expert(&self) -> GatedSpec {
        GatedSpec { hidden: self.hidden, gate: self.gate }
    }
}

/// A mixture of experts.
#[derive(Module, Debug)]
pub struct Moe {
    /// `dim` to a score of every expert.
    pub router: Linear,
    /// The experts.
    pub experts: Experts,
    #[module(skip)]
    spec: MoeSpec,
}

impl Moe {
    /// Trainable weights at random.
    pub fn random(spec: &MoeSpec, dim: usize, device: &Device) -> Self {
        let experts = (0..spec.experts).map(|_| Gated::random(&spec.expert(), dim, device)).collect();
        Self {
            router: Linear::random(dim, spec.experts, false, device),
            experts: Experts::Resident(experts),
            spec: spec.clone(),
        }
    }

    /// What it is.
    pub fn spec(&self) -> &MoeSpec {
        &self.spec
    }

    /// Lets go of its experts, which are those of `spec` and somewhere else; [`experts`](Self::experts) says where from now on.
    pub fn let_go(&mut self, spec: &MoeSpec) {
        self.experts = Experts::Resident(Vec::new());
        self.spec = spec.clone();
    }

    /// `x` `[batch, tokens, dim]` to the same shape; in training also what the loss gets for experts that are not equally busy.
    ///
    /// # Panics
    /// If `x` needs a gradient and the experts are not in memory.
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Option<Tensor<1>>) {
        let shape @ [batch, tokens, dim] = x.dims();
        let x = x.reshape([batch * tokens, dim]);
        let scores = self.router.forward(x.clone());
        let routes = Routes::of(Host::new(scores.clone()).as_slice(), self.spec.experts, self.spec.active);
        if x.device().is_autodiff() {
            let (y, balance) = self.forward_with_gradients(x, scores, &routes);
            return (y.reshape(shape), Some(balance));
        }
        (self.forward_on_host(x, &routes).reshape(shape), None)
    }

    /// Every expert once, for the rows that chose it; rows add what they get expert after expert.
    fn forward_on_host(&self, x: Tensor<2>, routes: &Routes) -> Tensor<2> {
        let ([rows, dim], device) = (x.dims(), x.device());
        let input = Host::new(host::contiguous(x.clone()));
        // What each expert gave, with the rows that chose it: experts may come in any order, and are added in theirs.
        let mut found = BTreeMap::new();
        self.experts.visit(&x, routes, &mut |expert, layer| {
            let chosen = routes.of_expert(expert);
            let gathered = chosen.iter().flat_map(|&(row, _)| &input.as_slice()[row * dim..][..dim]).copied().collect();
            let given = Host::new(layer.forward(host::tensor(gathered, [1, chosen.len(), dim], &device)));
            found.insert(expert, (chosen, given));
        });
        let mut y = vec![0.0; rows * dim];
        for (chosen, given) in found.into_values() {
            for ((row, weight), from) in chosen.into_iter().zip(given.as_slice().chunks_exact(dim)) {
                y[row * dim..][..dim].iter_mut().zip(from).for_each(|(y, from)| *y += weight * from);
            }
        }
        host::tensor(y, [rows, dim], &device)
    }

    /// The same in operations that pass gradients on, and the loss of the balance.
    fn forward_with_gradients(&self, x: Tensor<2>, scores: Tensor<2>, routes: &Routes) -> (Tensor<2>, Tensor<1>) {
        let Experts::Resident(experts) = &self.experts else {
            panic!("experts outside of memory have no gradient: load the whole model to train it")
        };
        let ([rows, dim], device) = (x.dims(), x.device());
        let active = routes.active();
        let indices = |values: Vec<i64>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let chosen =
            indices(routes.experts().iter().map(|&expert| i64::from(expert)).collect()).reshape([rows, active]);
        let weights: Tensor<1> = softmax(scores.clone().gather(1, chosen), 1).reshape([rows * active]);
        let mut y = Tensor::<2>::zeros([rows, dim], &device);
        for expert in routes.needed() {
            let places = routes.places(expert);
            let at = indices(places.iter().map(|&place| (place / active) as i64).collect());
            let weight = weights.clone().select(0, indices(places.iter().map(|&place| place as i64).collect()));
            let found = experts[expert].forward(x.clone().select(0, at.clone()).unsqueeze::<3>()).squeeze_dim::<2>(0);
            let found = found * weight.reshape([places.len(), 1]);
            y = y.select_assign(0, at, found, IndexingUpdateOp::Add);
        }
        (y, self.balance(scores, routes))
    }

    /// `balance · E · Σ_e f_e P_e`: the share of the choices that expert `e` got times its mean probability; `balance` if all are alike.
    fn balance(&self, scores: Tensor<2>, routes: &Routes) -> Tensor<1> {
        let (experts, device) = (self.spec.experts, scores.device());
        let mut shares = vec![0.0; experts];
        let each = 1.0 / routes.experts().len().max(1) as f32;
        routes.experts().iter().for_each(|&expert| shares[expert as usize] += each);
        let shares: Tensor<1> = host::tensor(shares, [experts], &device);
        let probabilities: Tensor<1> = softmax(scores, 1).mean_dim(0).reshape([experts]);
        (shares * probabilities).sum() * (self.spec.balance * experts as f64)
    }
}

#[cfg(test)]
mod tests;

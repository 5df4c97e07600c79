//! Where the experts of a layer are: in memory, or with someone who brings them.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Gated, Routes};

/// The experts of a layer.
#[derive(Module, Debug)]
pub enum Experts {
    /// In memory, all of them.
    Resident(Vec<Gated>),
    /// With someone who brings those that are needed.
    Elsewhere(Elsewhere),
}

/// Someone who brings experts.
pub trait ExpertSource: fmt::Debug + Send + Sync {
    /// Calls `run` once for each of the experts that `routes` names in mixture `layer`, in any order. `x` `[rows, dim]` is what the
    /// router read.
    fn visit(&self, layer: usize, x: &Tensor<2>, routes: &Routes, run: &mut dyn FnMut(usize, &Gated));
}

/// The experts of one layer, with someone who brings them.
#[derive(Module, Debug)]
pub struct Elsewhere {
    #[module(skip)]
    source: Arc<dyn ExpertSource>,
    layer: usize,
}

impl Elsewhere {
    /// Those of mixture `layer`, counted from the first one of the model, with `source`.
    pub fn new(source: Arc<dyn ExpertSource>, layer: usize) -> Self {
        Self { source, layer }
    }
}

impl Experts {
    /// Calls `run` once for each of the experts that `routes` names.
    pub(super) fn visit(&self, x: &Tensor<2>, routes: &Routes, run: &mut dyn FnMut(usize, &Gated)) {
        match self {
            Self::Resident(experts) => routes.needed().into_iter().for_each(|expert| run(expert, &experts[expert])),
            Self::Elsewhere(elsewhere) => elsewhere.source.visit(elsewhere.layer, x, routes, run),
        }
    }
}

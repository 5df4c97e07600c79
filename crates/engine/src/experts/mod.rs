//! Experts that do not all fit: those of a mixture stay in the model's file and are brought into a bounded memory when they are needed,
//! or before.
//!
//! An [`ExpertPolicy`] says what is held, and [`Offload`] does it: slots of a byte capacity that are never exceeded, loads on threads of
//! their own, and pins, so that no expert leaves while it is in use. The output has the same bits as that of the whole model under every
//! policy and capacity. ExpertFlow, He et al. 2024, arXiv:2410.17954.

mod allocation;
mod core;
mod engine;
mod error;
mod halves;
mod loads;
mod offload;
mod path;
mod planner;
mod policy;
mod predictor;
mod recent;
mod simulation;
mod slots;
mod statistics;

pub use allocation::allocate;
pub use error::ExpertsError;
pub use halves::{halves, keep_if_better};
pub use offload::Offload;
pub use path::{Path, active_experts, loads_on_demand};
pub use policy::{ExpertFlow, ExpertPolicy, Lru, NextGate, OnDemand};
pub use predictor::{Predictor, Sample};
pub use recent::Recent;
pub use simulation::{Step, simulate};
pub use statistics::{ExpertStatistics, LayerHits};

/// An expert of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expert {
    /// Which mixture it belongs to, counted from the first one of the model.
    pub layer: usize,
    /// Its number there.
    pub index: usize,
}

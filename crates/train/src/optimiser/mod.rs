//! Optimisers, each for Burn's `ModuleOptimizer`.

mod adamw;

pub use adamw::AdamW;

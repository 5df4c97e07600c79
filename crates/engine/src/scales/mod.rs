//! Policies of scales: what a generator of pictures keeps of the maps so far.
//!
//! A [`ScalePolicy`] is measured once per model if it needs to be ([`ScalePolicy::prepare`]), and then is a plan: slots of every layer for
//! every scale, and how they are chosen. The plan runs inside
//! [`NextScale::draw`](headwise_models::next_scale::NextScale::draw).

pub mod budgets;
pub mod grid;
mod plan;
mod policy;
pub mod select;
pub mod selectivity;

pub use plan::ScalePlan;
pub use policy::{ScaleKv, ScalePolicy, ScalePolicyError, Uniform};

//! Training.

pub mod loss;
pub mod optimiser;

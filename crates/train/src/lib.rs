//! Training.

pub mod optimiser;

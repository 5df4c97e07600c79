//! Normalisation layers.

mod rms;

pub use rms::RmsNorm;

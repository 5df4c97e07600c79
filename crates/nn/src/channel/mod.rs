//! Channel mixers: what happens to each token alone.

mod gated;

pub use gated::{Gate, Gated, GatedSpec};

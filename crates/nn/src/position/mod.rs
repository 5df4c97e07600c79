//! Position encodings.

mod rope;

pub use rope::{RopeScaling, RopeSpec};

//! Comparisons: the same work done by every method of a family, side by side.

pub mod cache;
pub mod experts;
pub mod mixers;
mod moment;
pub mod scales;

pub use moment::Moment;

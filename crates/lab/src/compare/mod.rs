//! Comparisons: the same work done by every method of a family, side by side.

pub mod cache;

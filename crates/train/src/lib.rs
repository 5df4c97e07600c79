//! Training: what to learn from, what to learn, and a loop that can be stopped and goes on bit for bit.
//!
//! A [`TrainSpec`](spec::TrainSpec) is a TOML file. [`data`] makes the documents of a step from nothing but the seed and the
//! number of the step; an [`objective`] turns them into what the model sees and what it should have said; a
//! [`Trainer`](trainer::Trainer) runs the steps.

pub mod average;
pub mod checkpoint;
pub mod data;
pub mod devices;
pub mod distil;
pub mod draws;
pub mod events;
pub mod fuse;
pub mod gradients;
pub mod loss;
pub mod model;
pub mod next_scale;
pub mod objective;
pub mod optimiser;
pub mod restraint;
pub mod schedule;
pub mod scores;
pub mod spec;
pub mod start;
pub mod supernet;
pub mod trainer;
pub mod world;

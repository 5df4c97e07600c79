//! Compare, run and serve the published ways for tokens to attend to each other.
//!
//! This crate re-exports the workspace: [`spec`] reads method names, [`kernels`] and [`ops`] compute, [`nn`] and [`models`] are
//! the modules, [`engine`] runs language models, [`train`] trains, [`tasks`] and [`lab`] measure them, [`serve`] answers over HTTP. The binary `headwise` is the same
//! from the command line.

pub mod catalogue;

pub use headwise_engine as engine;
pub use headwise_kernels as kernels;
pub use headwise_lab as lab;
pub use headwise_models as models;
pub use headwise_nn as nn;
pub use headwise_ops as ops;
pub use headwise_serve as serve;
pub use headwise_spec as spec;
pub use headwise_tasks as tasks;
pub use headwise_train as train;

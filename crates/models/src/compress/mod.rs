//! Smaller models: weights on coarser grids, weights, heads and layers left out. arXiv:2307.07982 surveys the field.
//!
//! ```text
//! Original::open   a model with trainable weights, its tokenizer, and what its files say
//!   Pruning        takes weights, heads or layers out of the model
//!   Target         makes a GGUF file of the model, every matrix in a type or as a Quantisation chooses its codes
//! ```
//!
//! Methods that look at what the layers read have a [`Calibration`]: some text, read layer by layer while the model changes.

mod awq;
mod bct;
mod calibration;
mod error;
mod evolve;
mod factor;
mod gptq;
mod heads;
mod influence;
mod layers;
mod magnitude;
mod mask;
mod matrix;
mod original;
mod pruning;
mod quantisation;
mod rtn;
mod scaling;
mod smoothquant;
mod subnet;
mod target;
mod wanda;

pub use awq::Awq;
pub use bct::Bct;
pub use calibration::{Calibration, Reading};
pub use error::CompressError;
pub use evolve::Evolve;
pub use gptq::Gptq;
pub use heads::Heads;
pub use influence::Influence;
pub use layers::Layers;
pub use magnitude::Magnitude;
pub use original::Original;
pub use pruning::{Pruning, check_layers};
pub use quantisation::Quantisation;
pub use rtn::Rtn;
pub use smoothquant::SmoothQuant;
pub use subnet::{Space, Subnet};
pub use target::{Plan, Step, Target};
pub use wanda::Wanda;

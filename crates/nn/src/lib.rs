//! Modules that mix and transform tokens: one file per method.

pub mod adapter;
pub mod block;
pub mod channel;
mod embedding;
mod factor;
mod linear;
pub mod mixer;
pub mod named;
pub mod norm;
pub mod position;

pub use embedding::{Embedding, Table};
pub use factor::Factor;
pub use linear::{Linear, Packed, Watched};

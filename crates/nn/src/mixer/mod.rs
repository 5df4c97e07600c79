//! Token mixers and what a forward tells them.

mod context;
mod gla;
mod linear_attention;
mod matrix_memory;
mod retention;
mod softmax;

pub use context::{LayerCache, MixContext, Projected, Segment};
pub use gla::{Gla, GlaSpec};
pub use linear_attention::{FeatureMap, LinearAttention, LinearAttentionSpec};
pub use matrix_memory::MatrixState;
pub use retention::{Retention, RetentionNorm, RetentionSpec};
pub use softmax::{HeadNorms, Softmax, SoftmaxSpec};

//! Token mixers and what a forward tells them.

mod context;
mod softmax;

pub use context::{LayerCache, MixContext, Projected, Segment};
pub use softmax::{HeadNorms, Softmax, SoftmaxSpec};

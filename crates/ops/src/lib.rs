//! Kernels as Burn operations: the kernel on the Flex backend, composed Burn operations elsewhere.

pub mod host;
mod activation;
mod attention;
mod norm;
mod packed;
mod rope;

pub use activation::{geglu_tanh, swiglu};
pub use attention::{Attended, attention};
pub use norm::rms_norm;
pub use packed::packed_product;
pub use rope::rope;

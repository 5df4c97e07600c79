//! Kernels as Burn operations.
//!
//! Every operation here runs a kernel of `headwise-kernels`, forward and backward, for `f32` tensors of the CPU backend, and is
//! composed of Burn's own operations for every other backend and type; both are differentiable. `kernel_op` is what connects
//! the two; each other file is one operation or a few that share their gradient.

mod activation;
mod adamw;
mod attention;
mod bias_activation;
mod buffers;
mod cross_entropy;
mod dropout;
mod flex;
mod gated;
pub mod host;
mod integer_gelu;
mod kernel_op;
mod layer_norm;
mod linear;
mod linear_recurrence;
mod norm;
mod offsets;
mod packed;
mod residual_norm;
mod rms_norm;
mod rope;
mod short_convolution;
mod softmax;

pub use activation::{gelu, gelu_tanh, silu};
pub use adamw::adamw;
pub use attention::{Attended, attention, packed_attention};
pub use bias_activation::{bias_gelu, bias_gelu_tanh, bias_silu};
pub use cross_entropy::{CrossEntropy, CutSettings, cut_cross_entropy};
pub use dropout::dropout;
pub use gated::{geglu_tanh, swiglu};
pub use headwise_kernels::adamw::AdamW;
pub use headwise_kernels::loss::{Filter, IGNORED, Settings as CrossEntropySettings, Targets};
pub use integer_gelu::integer_gelu;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use linear_recurrence::{Decay, Recurred, Recurrence, composed_linear_recurrence, linear_recurrence};
pub use packed::packed_products;
pub use residual_norm::{add_layer_norm, add_rms_norm};
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use short_convolution::short_convolution;
pub use softmax::{log_softmax, softmax};

//! Linear recurrences: attention whose memory is a matrix that decays, in time linear in the tokens.
//!
//! `S_t = diag(a_t) S_{t-1} + k_t v_tᵀ`, `o_t = scale · S_tᵀ q_t`, with the state `S` `[key_dim, value_dim]` and factors
//! `a_t = exp(log-decay) ≤ 1`: none (linear attention, Katharopoulos et al. 2020, arXiv:2006.16236), one for each head
//! (retention, arXiv:2307.08621), for each token and head (Mamba-2, arXiv:2405.21060), or for each channel of the key as well
//! (gated linear attention, arXiv:2312.06635). With a normaliser, `o_t = S_tᵀ q_t / (q_t · Σ k + 1e-10)`.
//!
//! - [`forward`] and [`backward`]: whole sequences, in chunks of [`CHUNK`] tokens: products of matrices within a chunk, the
//!   state from chunk to chunk.
//! - [`steps`]: one token after the other, from states that the caller keeps and with the same bits however a text is cut.
//!
//! Inside a chunk a weight is the product of the factors between two tokens, formed by multiplying them one after the
//! other: it is at most 1, exact to rounding however strong the decay, and a log-decay of −∞ forgets everything.

mod backward;
mod channel_decay;
mod chunk;
mod decay;
mod forward;
mod gradient;
mod inputs;
mod pass;
mod product;
mod rows;
mod scalar_decay;
mod steps;
mod stream;
mod triangle;
mod weighting;
mod work;

pub use backward::{Gradients, Upstream, backward};
pub use forward::forward;
pub use inputs::{Decay, Dims, Inputs, Recurrence};
pub use steps::steps;

/// Tokens that are worked on together.
pub const CHUNK: usize = 64;

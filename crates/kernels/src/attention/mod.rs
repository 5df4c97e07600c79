//! Fused softmax attention: one kernel for training and inference.
//!
//! `out_i = Σ_j p_ij v_j`, `p_ij = exp(s_ij - lse_i)`, `lse_i = ln Σ_j exp(s_ij)`, `s_ij = scale · q_i·k_j` and what
//! [`AttnSpec`] adds. Scores exist only as `[6, BLOCK]` tiles: memory is linear in the tokens and nothing of size
//! tokens × tokens is made.
//!
//! - [`attend`]: rows of several sequences over caches that are decoded block by block ([`KeyValueBlocks`]).
//! - [`column_sums`]: how much weight each key received, in a second pass.
//! - [`scores`]: those of one row, for policies that choose what it reads.
//! - [`forward`] and [`backward`]: tensors `[batch, heads, tokens, head_dim]` and their gradients; [`forward_packed`] and
//!   [`backward_packed`] of texts that lie one after the other.
//!
//! Keys are cut at absolute slots: into blocks of [`BLOCK`], over which an online softmax runs, and into splits of 512,
//! which start empty and are merged in order. A score is a sequential chain over `head_dim`, an output element one over
//! the keys of a split. Hence a row has the same bits whether it is decoded alone, in a chunk or in a whole prompt.

mod attend;
mod backward;
mod block_mask;
mod columns;
mod forward;
mod gradient;
mod packed;
mod pass;
mod plan;
mod prepared;
mod rows;
mod schedule;
mod scores;
mod softmax;
mod source;
mod spec;
mod tensors;
mod tile;
mod view;
mod visible;
#[cfg(test)]
mod visits;
mod work;

pub use crate::product::Columns;
pub use attend::{Segment, StatsOut, attend};
pub use backward::backward;
pub use block_mask::BlockMask;
pub use columns::{HeadSum, column_sums};
pub use forward::{Inputs, forward};
pub use packed::{PackedGradients, PackedUpstream, backward_packed, forward_packed};
pub use pass::SPLIT;
pub use rows::{Rows, RowsMut, Shape};
pub use scores::scores;
pub use softmax::merge;
pub use source::{BLOCK, Float, KeyValueBlocks, StoredReader, Strided};
pub use spec::{AttnSpec, Stats};
pub use tensors::{InputGradients, ScoreGradients, Upstream};
pub use view::{Dims, View4, View4Mut};

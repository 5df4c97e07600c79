//! PINE: a set of segments in a prompt, read so that the order in which they stand changes nothing.
//!
//! A text is a prefix, segments `D_1 … D_m` (documents, options to judge) and whatever follows them. Every segment sees the prefix and all
//! of the others, and itself causally. Where the others stand is for every head to say, by importance without positions:
//!
//! - `a_ij = Σ_{q ∈ D_i} Σ_{k ∈ D_j} softmax_{k ∉ D_i}(q·k / √d) / |D_j|`, `q` and `k` before rotation. For the queries of `D_i`, `D_i`
//!   itself stands at the end of the segments' region, before it the `D_j` with the largest `a_ij`, before that the next one, and so on.
//! - A token after the segments has `a_j`, its own weight on `D_j` divided by `|D_j|`, and the most important segment nearest to it.
//!
//! The prefix and what follows stand where they do in any text. Wang et al. 2024, arXiv:2407.01100.
//!
//! The published code rotates all keys anew for every query and head. A score depends on distances only, and all keys of a segment move
//! together: so keys are rotated once, by their places in their segment, and the query is turned once for every segment, by how far it
//! stands from where that segment begins. Attention over each segment is the ordinary kernel's; the parts are joined by their
//! log-sum-exp. Nothing is done in the order in which segments were given: they are kept by their tokens, and equal importance is
//! decided by tokens too, so scores have the same bits for all orders.
//!
//! Layers with a sliding window see what stands in it at these places. Keys of segments are kept twice, rotated and not, since importance
//! asks for the latter.

mod error;
mod importance;
mod join;
mod near;
mod read;
mod set;
mod text;

pub use error::SegmentsError;
pub(crate) use join::{LayerAttention, RawQueries};
pub(crate) use read::READS_SET;
pub(crate) use set::SegmentSet;
pub use text::{Ordinary, Pine, SegmentPositions, SegmentedText, SegmentedWords};

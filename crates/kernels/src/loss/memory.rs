//! Bytes that the loss needs beside its inputs and their gradients.

use super::{forward, pass};

/// With whole logits: they and their softmax, which becomes their gradient.
pub fn bytes_naive(rows: usize, vocabulary: usize) -> usize {
    2 * size_of::<f32>() * rows * vocabulary
}

/// Cut into blocks, with so many threads: what is kept for each row and for each class, and what each thread works on.
///
/// This is the most that the forward or the backward pass holds; rows that do not count need less.
pub fn bytes_cut(rows: usize, dim: usize, vocabulary: usize, threads: usize) -> usize {
    // The losses and their `lse`, the targets and the rows that count; the order of the classes and the places in it.
    let kept = size_of::<f32>() * (4 * rows + 2 * vocabulary);
    kept + size_of::<f32>() * forward::numbers(rows, dim, vocabulary, threads).max(pass::numbers(rows, dim, threads))
}

//! What a linear recurrence has to do by definition, for profiles: a chunk's weights count up to the diagonal.

use super::CHUNK;
use super::inputs::{Decay, Dims, Inputs};
use crate::profile::Work;

/// Bytes of so many `f32`.
fn floats(count: usize) -> f64 {
    (count * size_of::<f32>()) as f64
}

/// Elements of all inputs.
fn elements(dims: &Dims, inputs: &Inputs<'_>) -> usize {
    let tokens = dims.batch * dims.heads * dims.tokens;
    let decays = match inputs.decay {
        Decay::None | Decay::Head(_) => 0,
        Decay::Token(_) => 1,
        Decay::Channel(_) => dims.key_dim,
    };
    tokens * (2 * dims.key_dim + dims.value_dim + decays)
}

/// Multiplications and additions per token: of the products inside a chunk, for keys and values, and of those with the state.
fn per_token(dims: &Dims, [keys, values, state]: [usize; 3]) -> f64 {
    let inside = CHUNK * (keys * dims.key_dim + values * dims.value_dim);
    (inside + 2 * state * dims.key_dim * dims.value_dim) as f64
}

/// The forward pass: weights, outputs and two products with the state.
pub(super) fn of_outputs(dims: &Dims, inputs: &Inputs<'_>) -> Work {
    let tokens = (dims.batch * dims.heads * dims.tokens) as f64;
    Work { flops: tokens * per_token(dims, [1, 1, 2]), bytes: floats(elements(dims, inputs) + dims.output()) }
}

/// The backward pass: the weights once more, their gradient and what follows from it, and four products with states.
pub(super) fn of_gradients(dims: &Dims, inputs: &Inputs<'_>) -> Work {
    let tokens = (dims.batch * dims.heads * dims.tokens) as f64;
    Work { flops: tokens * per_token(dims, [3, 2, 4]), bytes: floats(2 * elements(dims, inputs) + 2 * dims.output()) }
}

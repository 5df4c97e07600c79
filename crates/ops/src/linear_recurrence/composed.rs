//! Linear recurrences of Burn's own operations, in chunks.
//!
//! With the sums `G_i` of the log-decays up to token `i` of a chunk: `W_ij = Σ_f q_if k_jf exp(G_if - G_jf)` for `j ≤ i`,
//! `O = W V + (Q ⊙ exp G) S`, `S ← exp(G_end) ⊙ S + (K ⊙ exp(G_end - G))ᵀ V`.

use burn::tensor::{Bool, Tensor};
use headwise_kernels::linear::Recurrence;

use super::{Decay, Recurred};

/// A log-decay below this forgets everything in any precision; sums of far smaller ones would be inexact.
const FORGETS: f64 = -100.0;
/// Added to the divisor of normalised outputs.
const EPSILON: f64 = 1e-10;

pub(super) fn linear_recurrence(
    inputs: [Tensor<4>; 3],
    decay: Decay,
    spec: &Recurrence,
    offsets: &[usize],
    state: Option<Tensor<5>>,
) -> Recurred {
    let [query, key, value] = inputs;
    let ([batch, heads, tokens, key_dim], value_dim) = (query.dims(), value.dims()[3]);
    let (device, dtype) = (query.device(), query.dtype());
    let query = query * spec.scale;
    let value = if spec.normalise {
        Tensor::cat(vec![value, Tensor::ones([batch, heads, tokens, 1], (&device, dtype))], 3)
    } else {
        value
    };
    let columns = value.dims()[3];
    // Weights of each channel are formed for all pairs of a chunk, so it is short.
    let chunk = if matches!(decay, Decay::Channel(_)) { 16 } else { 64 };
    let decay = match decay {
        Decay::None => Tensor::zeros([batch, heads, tokens, 1], (&device, dtype)),
        Decay::Head(decay) => decay.reshape([1, heads, 1, 1]).expand([batch, heads, tokens, 1]),
        Decay::Token(decay) => decay.unsqueeze_dim(3),
        Decay::Channel(decay) => decay,
    };
    let decay = decay.clamp_min(FORGETS);

    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for (sequence, ends) in offsets.windows(2).enumerate() {
        let mut state = match &state {
            Some(state) => state.clone().narrow(1, sequence, 1).squeeze_dim::<4>(1),
            None => Tensor::zeros([batch, heads, key_dim, columns], (&device, dtype)),
        };
        for start in (ends[0]..ends[1]).step_by(chunk) {
            let cut = |x: &Tensor<4>| x.clone().narrow(2, start, chunk.min(ends[1] - start));
            let (output, next) = run_chunk([cut(&query), cut(&key), cut(&value)], cut(&decay), state);
            outputs.push(output);
            state = next;
        }
        states.push(state.unsqueeze_dim::<5>(1));
    }
    let output = if outputs.is_empty() { value } else { Tensor::cat(outputs, 2) };
    let output = if spec.normalise {
        let divisor = output.clone().narrow(3, value_dim, 1) + EPSILON;
        output.narrow(3, 0, value_dim) / divisor
    } else {
        output
    };
    Recurred { output, state: Tensor::cat(states, 1) }
}

/// The outputs of a chunk and the state after it; `decay` has one channel or those of the key.
fn run_chunk([query, key, value]: [Tensor<4>; 3], decay: Tensor<4>, state: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let [batch, heads, tokens, width] = decay.dims();
    let device = query.device();
    let later = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &device);
    let up_to = Tensor::<2>::ones([tokens, tokens], (&device, query.dtype())).mask_fill(later.clone(), 0.0);
    let sums = up_to.unsqueeze::<4>().expand([batch, heads, tokens, tokens]).matmul(decay);
    let end = sums.clone().narrow(2, tokens - 1, 1);

    let between = sums.clone().unsqueeze_dim::<5>(3) - sums.clone().unsqueeze_dim::<5>(2);
    let later = later.unsqueeze::<4>().unsqueeze_dim::<5>(4).expand([batch, heads, tokens, tokens, width]);
    let between = between.mask_fill(later, f32::NEG_INFINITY).exp();
    let weights = if width == 1 {
        query.clone().matmul(key.clone().swap_dims(2, 3)) * between.squeeze_dim::<4>(4)
    } else {
        let products = query.clone().unsqueeze_dim::<5>(3) * key.clone().unsqueeze_dim::<5>(2);
        (products * between).sum_dim(4).squeeze_dim::<4>(4)
    };
    let output = weights.matmul(value.clone()) + (query * sums.clone().exp()).matmul(state.clone());
    let entering = (key * (end.clone() - sums).exp()).swap_dims(2, 3).matmul(value);
    (output, state * end.exp().swap_dims(2, 3) + entering)
}

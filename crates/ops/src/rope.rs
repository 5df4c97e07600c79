//! Rotary position encoding.

use burn::tensor::{Tensor, TensorData};
use headwise_kernels::rope::Rope;

/// Rotates the heads of `x` `[batch, heads, tokens, head_dim]`; token `t` stands at `positions[t]`.
pub fn rope(x: Tensor<4>, positions: &[i32], rope: &Rope) -> Tensor<4> {
    let [batch, heads, tokens, head_dim] = x.dims();
    let (dims, half) = (rope.rotary_dim(), rope.rotary_dim() / 2);
    let angle = |f: fn(f64) -> f64| {
        let values: Vec<f32> = positions
            .iter()
            .flat_map(|&position| rope.inv_freq().iter().map(move |&w| f(f64::from(position) * f64::from(w)) as f32))
            .collect();
        Tensor::<2>::from_data(TensorData::new(values, [tokens, half]), &x.device()).unsqueeze::<4>()
    };
    let (cos, sin) = (angle(f64::cos), angle(f64::sin));
    let part = |from: usize, to: usize| x.clone().slice([0..batch, 0..heads, 0..tokens, from..to]);
    let (a, b) = (part(0, half), part(half, dims));
    let mut parts = vec![a.clone() * cos.clone() - b.clone() * sin.clone(), a * sin + b * cos];
    if dims < head_dim {
        parts.push(part(dims, head_dim));
    }
    Tensor::cat(parts, 3)
}

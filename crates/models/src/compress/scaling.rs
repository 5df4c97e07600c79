//! Scales that move from the inputs of a projection into its weights, so that what is hard to round becomes easier.
//!
//! Input `i` is divided by `s_i` and column `i` of the matrix multiplied by it, which changes nothing but the rounding:
//! `W x = (W diag(s)) (x / s)`. The division goes into what makes the input: the scale of the norm before, or the rows of the projection
//! before. So nothing is added to the model.
//!
//! Values go through attention to the output projection; where several query heads share a value, no scale of its own is left for
//! each input, and that projection is only rounded.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::Tensor;
use headwise_nn::Linear;
use headwise_nn::block::Block;
use headwise_nn::channel::Channel;
use headwise_nn::mixer::Mixer;
use headwise_nn::norm::Norm;
use headwise_ops::host::{self, Host};

use super::calibration::Inputs;
use super::matrix::Matrix;

/// What makes the inputs of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// A norm.
    Norm,
    /// Another projection.
    Projection,
}

/// Scales the inputs of the projections of `block`, which read `inputs`, by what `choose` gives for projections that read the same: a
/// factor above zero for each input, or none. The function that the block computes stays the same.
pub(super) fn scale(
    block: &mut Block,
    inputs: &HashMap<&'static str, Inputs>,
    choose: impl Fn(Maker, &Inputs, &[&Linear]) -> Option<Vec<f32>>,
) {
    let scales = |name: &str, maker, linears: &[&Linear]| choose(maker, inputs.get(name)?, linears);
    if let (Some(norm), Mixer::Softmax(mixer)) = (&mut block.mixer_norms.before, &mut block.mixer)
        && let Some(scales) = scales("mixer.query", Maker::Norm, &[&mixer.query, &mixer.key, &mixer.value])
    {
        divide_norm(norm, &scales);
        [&mut mixer.query, &mut mixer.key, &mut mixer.value].into_iter().for_each(|linear| multiply(linear, &scales));
    }
    if let Mixer::Softmax(mixer) = &mut block.mixer
        && mixer.spec().kv_heads.is_none_or(|heads| heads == mixer.spec().heads)
        && let Some(scales) = scales("mixer.output", Maker::Projection, &[&mixer.output])
    {
        divide(&mut mixer.value, &scales);
        multiply(&mut mixer.output, &scales);
    }
    let Some(channel) = &mut block.channel else { return };
    if let Some(norm) = &mut block.channel_norms.before {
        let readers: Vec<&mut Linear> = match channel {
            Channel::Gated(gated) => vec![&mut gated.gate, &mut gated.up],
            Channel::Mlp(mlp) => vec![&mut mlp.up],
            // Every expert reads other rows.
            Channel::Moe(_) => return,
        };
        let shared: Vec<&Linear> = readers.iter().map(|linear| &**linear).collect();
        if let Some(scales) = scales("channel.up", Maker::Norm, &shared) {
            divide_norm(norm, &scales);
            readers.into_iter().for_each(|linear| multiply(linear, &scales));
        }
    }
    // What a gate multiplies scales like the product; an activation in between would not let a scale through.
    if let Channel::Gated(gated) = channel
        && let Some(scales) = scales("channel.down", Maker::Projection, &[&gated.down])
    {
        divide(&mut gated.up, &scales);
        multiply(&mut gated.down, &scales);
    }
}

/// Columns times `scales`.
fn multiply(linear: &mut Linear, scales: &[f32]) {
    if let Some(matrix) = Matrix::of(linear) {
        matrix.columns_times(scales).put(linear);
    }
}

/// Rows, and the bias, over `scales`.
fn divide(linear: &mut Linear, scales: &[f32]) {
    if let Some(matrix) = Matrix::of(linear) {
        matrix.rows_over(scales).put(linear);
    }
    if let Linear::Float(float) = linear {
        float.bias = float.bias.take().map(|bias| over(bias, scales));
    }
}

fn divide_norm(norm: &mut Norm, scales: &[f32]) {
    match norm {
        Norm::Rms(norm) => norm.weight = over(norm.weight.clone(), scales),
        Norm::Layer(norm) => {
            norm.weight = over(norm.weight.clone(), scales);
            norm.bias = over(norm.bias.clone(), scales);
        }
    }
}

fn over(values: Param<Tensor<1>>, scales: &[f32]) -> Param<Tensor<1>> {
    let (id, device) = (values.id, values.val().device());
    let divided: Vec<f32> = Host::new(values.val()).as_slice().iter().zip(scales).map(|(value, s)| value / s).collect();
    Param::initialized(id, host::tensor(divided, [scales.len()], &device))
}

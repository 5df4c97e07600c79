//! AWQ: inputs that are large get finer weights.
//!
//! Column `i` of a matrix is multiplied by `s_i` before it is rounded and its input divided by it, which changes nothing but the
//! rounding: `W x = (W diag(s)) (x / s)`. The division goes into what makes the input: the scale of the norm before, or the rows of the
//! projection before. `s_i = mean|x_i|^α`, and `α` is the one of `0, 1/steps, …` whose outputs are nearest, by the second moments of the
//! inputs. Lin et al. 2024, arXiv:2306.00978.
//!
//! Values go through attention to the output projection; where several query heads share a value, no scale of its own is left for
//! each input, and that projection is only rounded.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_nn::Linear;
use headwise_nn::block::Block;
use headwise_nn::channel::Channel;
use headwise_nn::mixer::Mixer;
use headwise_nn::norm::Norm;
use headwise_ops::host::{self, Host};

use super::calibration::Inputs;
use super::matrix::Matrix;
use super::quantisation::Grids;
use super::rtn::nearest;

headwise_spec::method! {
    /// Scales inputs so that large ones get finer weights, then rounds to nearest.
    ///
    /// Needs a calibration text. Scales go into the norm or the projection before, so nothing is added to the model. Lin et al. 2024,
    /// arXiv:2306.00978.
    pub struct Awq {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 4,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row.
        pub group: usize = 32,
        /// Grids lie around zero; else each has a minimum too (up to 5 bits).
        pub symmetric: bool = true,
        /// Strengths that are tried, from none to the whole magnitude of an input.
        pub steps: usize = 20,
    }
}

/// No scale is below this.
const LEAST: f32 = 1e-4;

/// Scales the inputs of the projections of `block`, which read `inputs`; the function that it computes stays the same.
pub(super) fn scale(block: &mut Block, inputs: &HashMap<&'static str, Inputs>, grids: Grids, steps: usize) {
    let search = |name: &str, linears: &[&Linear]| match inputs.get(name) {
        Some(inputs) => best_scales(inputs, linears, grids, steps),
        None => None,
    };
    if let (Some(norm), Mixer::Softmax(mixer)) = (&mut block.mixer_norms.before, &mut block.mixer)
        && let Some(scales) = search("mixer.query", &[&mixer.query, &mixer.key, &mixer.value])
    {
        divide_norm(norm, &scales);
        [&mut mixer.query, &mut mixer.key, &mut mixer.value].into_iter().for_each(|linear| multiply(linear, &scales));
    }
    if let Mixer::Softmax(mixer) = &mut block.mixer
        && mixer.spec().kv_heads.is_none_or(|heads| heads == mixer.spec().heads)
        && let Some(scales) = search("mixer.output", &[&mixer.output])
    {
        divide(&mut mixer.value, &scales);
        multiply(&mut mixer.output, &scales);
    }
    let Some(channel) = &mut block.channel else { return };
    if let Some(norm) = &mut block.channel_norms.before {
        let readers: Vec<&mut Linear> = match channel {
            Channel::Gated(gated) => vec![&mut gated.gate, &mut gated.up],
            Channel::Mlp(mlp) => vec![&mut mlp.up],
        };
        let shared: Vec<&Linear> = readers.iter().map(|linear| &**linear).collect();
        if let Some(scales) = search("channel.up", &shared) {
            divide_norm(norm, &scales);
            readers.into_iter().for_each(|linear| multiply(linear, &scales));
        }
    }
    // What a gate multiplies scales like the product; an activation in between would not let a scale through.
    if let Channel::Gated(gated) = channel
        && let Some(scales) = search("channel.down", &[&gated.down])
    {
        divide(&mut gated.up, &scales);
        multiply(&mut gated.down, &scales);
    }
}

/// The scales with which rounding `linears`, which read `inputs`, loses least; none if no scale is better than none.
fn best_scales(inputs: &Inputs, linears: &[&Linear], grids: Grids, steps: usize) -> Option<Vec<f32>> {
    let matrices = linears.iter().map(|linear| Matrix::of(linear)).collect::<Option<Vec<_>>>()?;
    let (gram, magnitudes) = (inputs.gram(), inputs.magnitudes());
    let error = |scales: &[f32]| matrices.iter().map(|matrix| lost(matrix, scales, grids, &gram)).sum::<f32>();
    let mut best = (error(&vec![1.0; magnitudes.len()]), None);
    for step in 1..=steps {
        let scales = scales(&magnitudes, step as f32 / steps as f32);
        let found = error(&scales);
        if found < best.0 {
            best = (found, Some(scales));
        }
    }
    best.1
}

/// `magnitude^strength`, with the geometric mean of the smallest and the largest at one.
fn scales(magnitudes: &[f32], strength: f32) -> Vec<f32> {
    let scales: Vec<f32> = magnitudes.iter().map(|magnitude| magnitude.powf(strength).max(LEAST)).collect();
    let least = scales.iter().fold(f32::INFINITY, |least, &scale| least.min(scale));
    let most = scales.iter().fold(0.0f32, |most, &scale| most.max(scale));
    let middle = (least * most).sqrt();
    scales.into_iter().map(|scale| scale / middle).collect()
}

/// The error of the outputs when the weights are rounded with `scales`: `Σ (w - q)ᵀ H (w - q)` over the rows.
fn lost(matrix: &Matrix, scales: &[f32], grids: Grids, gram: &Tensor<2>) -> f32 {
    let rounded = Matrix { values: nearest(&matrix.columns_times(scales), grids), inputs: matrix.inputs };
    let back: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
    let rounded = rounded.columns_times(&back);
    let differences = matrix.values.iter().zip(rounded.values).map(|(w, q)| w - q).collect();
    let outputs = matrix.values.len() / matrix.inputs;
    let lost = host::tensor::<2>(differences, [outputs, matrix.inputs], &Device::flex());
    (lost.clone().matmul(gram.clone()) * lost).sum().into_scalar::<f32>()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{Calibration, Quantisation};
    use crate::decoder::Decoder;

    fn logits(model: &Decoder) -> Vec<f32> {
        Host::new(model.forward(&[3, 1, 4, 1, 5, 9, 2, 6, 30, 20], &Device::flex())).as_slice().to_vec()
    }

    #[test]
    fn scales_leave_the_function_as_it_is() {
        let layers = [
            "mixer = \"softmax(heads=4, kv_heads=2, bias=true)\"\nchannel = \"gated(hidden=96)\"",
            "mixer = \"softmax(heads=4, qk_norm=true)\"\nchannel = \"gated(hidden=64)\"\nnorms = \"sandwich\"",
            "mixer = \"softmax(heads=2)\"\nchannel = \"mlp(hidden=64, bias=true)\"\nnorm = \"layer\"",
            "mixer = \"softmax(heads=2)\"\nnorms = \"post\"",
        ];
        let layers: String = layers.iter().map(|layer| format!("[[layers]]\n{layer}\n")).collect();
        let spec = format!("vocabulary = 32\ndim = 64\ncontext = 64\nepsilon = 1e-5\n{layers}");
        let mut model = Decoder::random(toml::from_str(&spec).unwrap(), &Device::flex()).unwrap();
        let before = logits(&model);
        let ids: Vec<u32> = (0..96).map(|at| at * 7 % 32).collect();
        let mut reading = Calibration::new(&ids, 96, 32).unwrap().start(&model);
        let grids = "awq".parse::<Quantisation>().unwrap().grids().unwrap();
        let mut changed = 0;
        for layer in 0..4 {
            let inputs = reading.inputs(&mut model, layer);
            let weights = |block: &Block| match &block.mixer {
                Mixer::Softmax(mixer) => Matrix::of(&mixer.query),
                _ => None,
            };
            let old = weights(&model.blocks[layer]);
            scale(&mut model.blocks[layer], &inputs, grids, 8);
            changed += usize::from(weights(&model.blocks[layer]) != old);
            reading.advance(&model, layer);
        }
        assert!(changed >= 2, "scales of {changed} layers");
        let difference = before.iter().zip(logits(&model)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn large_inputs_get_finer_weights() {
        let inputs: Vec<f32> =
            (0..64 * 32).map(|i| if i % 32 == 5 { 40.0 } else { ((i * 31) % 17) as f32 / 17.0 - 0.5 }).collect();
        let inputs = Inputs::new(inputs, 64);
        let linear = Linear::random(32, 16, false, &Device::flex());
        let grids = "awq".parse::<Quantisation>().unwrap().grids().unwrap();
        let scales = best_scales(&inputs, &[&linear], grids, 10).expect("a scale that is better than none");
        assert!((0..32).all(|i| i == 5 || scales[i] < scales[5] / 2.0), "{scales:?}");
    }
}

//! AWQ: inputs that are large get finer weights.
//!
//! Column `i` of a matrix is multiplied by `s_i` before it is rounded and its input divided by it (see `scaling`). `s_i = mean|x_i|^α`,
//! and `α` is the one of `0, 1/steps, …` whose outputs are nearest, by the second moments of the inputs. Lin et al. 2024,
//! arXiv:2306.00978.

use burn::tensor::{Device, Tensor};
use headwise_nn::Linear;
use headwise_ops::host;

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

/// The scales with which rounding `linears`, which read `inputs`, loses least; none if no scale is better than none.
pub(super) fn best_scales(inputs: &Inputs, linears: &[&Linear], grids: Grids, steps: usize) -> Option<Vec<f32>> {
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

#[cfg(test)]
mod tests {
    use headwise_nn::block::Block;
    use headwise_nn::mixer::Mixer;
    use headwise_ops::host::Host;

    use super::super::scaling::scale;
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
            scale(&mut model.blocks[layer], &inputs, |_, inputs, linears| best_scales(inputs, linears, grids, 8));
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

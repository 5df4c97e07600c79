//! SmoothQuant: the outliers of what a projection reads move into its weights, where rounding has room for them.
//!
//! `s_j = max|X_j|^α / max|W_j|^(1-α)`: input `j` is divided by it and column `j` multiplied (see `scaling`), so `X W` is the same before
//! anything is rounded. Xiao et al. 2023, arXiv:2211.10438. As published, only projections that read a norm are smoothed; `max|W_j|` is
//! over all of those that read the same.

use std::collections::HashMap;

use headwise_nn::Linear;
use headwise_nn::block::Block;

use super::calibration::Inputs;
use super::matrix::Matrix;
use super::scaling::{Maker, scale};
use super::{Calibration, CompressError, check_layers};
use crate::decoder::Decoder;

headwise_spec::method! {
    /// Moves the outliers of inputs into the weights, then rounds to nearest.
    ///
    /// Needs a calibration text. For weights and activations of 8 bits: whatever multiplies in bytes, as this engine does, loses less of
    /// the inputs. Scales go into the norm before, so nothing is added to the model. Xiao et al. 2023, arXiv:2211.10438.
    pub struct SmoothQuant {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 8,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row: one scale for each output channel.
        pub group: usize = 0,
        /// How much of the outliers moves: 0 leaves the weights as even as can be, 1 the inputs.
        pub alpha: f64 = 0.5,
    }
}

/// Neither a largest input nor a largest weight counts as less.
const LEAST: f32 = 1e-5;

impl SmoothQuant {
    /// Moves the outliers of what the layers of `model` read, by the text `calibration`, into its weights, and rounds nothing: the model
    /// computes the same.
    pub fn smooth(&self, model: &mut Decoder, calibration: &Calibration) -> Result<(), CompressError> {
        check_layers(model)?;
        let mut reading = calibration.start(model);
        for layer in 0..model.blocks.len() {
            let inputs = reading.inputs(model, layer);
            self.smooth_block(&mut model.blocks[layer], &inputs);
            reading.advance(model, layer);
        }
        Ok(())
    }

    /// The same of one layer, whose projections read `inputs`.
    pub(super) fn smooth_block(&self, block: &mut Block, inputs: &HashMap<&'static str, Inputs>) {
        scale(block, inputs, |maker, inputs, linears| scales(maker, inputs, linears, self.alpha));
    }
}

/// The scales of projections that read `inputs`; none where those do not come from a norm.
fn scales(maker: Maker, inputs: &Inputs, linears: &[&Linear], alpha: f64) -> Option<Vec<f32>> {
    if maker != Maker::Norm {
        return None;
    }
    let mut columns = vec![LEAST; inputs.largest().len()];
    for linear in linears {
        let matrix = Matrix::of(linear)?;
        for row in matrix.values.chunks_exact(matrix.inputs) {
            columns.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
        }
    }
    let alpha = alpha as f32;
    let scale = |(input, column): (f32, f32)| input.max(LEAST).powf(alpha) / column.powf(1.0 - alpha);
    Some(inputs.largest().into_iter().zip(columns).map(scale).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_ops::host::Host;

    use super::*;

    const SPEC: &str = "vocabulary = 32\ndim = 64\ncontext = 64\nepsilon = 1e-5\n\
        [[layers]]\nmixer = \"softmax(heads=4, kv_heads=2, bias=true)\"\nchannel = \"gated(hidden=96)\"\n\
        [[layers]]\nmixer = \"softmax(heads=2)\"\nchannel = \"mlp(hidden=64, bias=true)\"\nnorm = \"layer\"";

    #[test]
    fn scales_are_what_the_definition_says() {
        // Inputs whose largest are 1, 8 and 0; a weight whose largest are 4, 2 and 1.
        let inputs = Inputs::new(vec![1.0, -8.0, 0.0, -0.5, 2.0, 0.0], 2);
        let linear = Matrix { values: vec![4.0, -2.0, 0.5, 1.0, 0.5, -1.0], inputs: 3 }.into_linear(None);
        let of = |alpha| scales(Maker::Norm, &inputs, &[&linear], alpha).unwrap();
        let near = |found: Vec<f32>, expected: [f32; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * b), "{found:?}, not {expected:?}");
        };
        near(of(0.5), [0.5, 2.0, LEAST.sqrt()]);
        near(of(1.0), [1.0, 8.0, LEAST]);
        near(of(0.0), [0.25, 0.5, 1.0]);
        assert_eq!(scales(Maker::Projection, &inputs, &[&linear], 0.5), None);
    }

    #[test]
    fn the_function_stays_and_the_outlier_shrinks() {
        let mut model = Decoder::random(toml::from_str(SPEC).unwrap(), &Device::flex()).unwrap();
        // A channel of the first norm that is far larger than the others.
        if let Some(headwise_nn::norm::Norm::Rms(norm)) = &mut model.blocks[0].mixer_norms.before {
            let scale = (0..64).map(|at| if at == 7 { 50.0 } else { 1.0 }).collect();
            *norm = headwise_nn::norm::RmsNorm::from_weight(scale, 1e-5, &Device::flex());
        }
        let ids: Vec<u32> = (0..96).map(|at| at * 7 % 32).collect();
        let logits = |model: &Decoder| Host::new(model.forward(&ids[..40], &Device::flex())).as_slice().to_vec();
        let before = logits(&model);
        let mut reading = Calibration::new(&ids, 96, 32).unwrap().start(&model);
        let peak = |inputs: &Inputs| {
            let largest = inputs.largest();
            largest.iter().fold(0.0f32, |most, value| most.max(*value)) / (largest.iter().sum::<f32>() / 64.0)
        };
        let mut peaks = Vec::new();
        for layer in 0..2 {
            let inputs = reading.inputs(&mut model, layer);
            SmoothQuant::default().smooth_block(&mut model.blocks[layer], &inputs);
            let after = reading.inputs(&mut model, layer);
            peaks.push([peak(&inputs["mixer.query"]), peak(&after["mixer.query"])]);
            reading.advance(&model, layer);
        }
        let largest = before.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let difference = before.iter().zip(logits(&model)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5 * largest.max(1.0), "{difference} of {largest}");
        assert!(peaks[0][0] > 20.0 && peaks[0][1] < peaks[0][0] / 3.0, "{peaks:?}");
    }
}

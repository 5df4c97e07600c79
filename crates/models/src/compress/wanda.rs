//! Wanda: weights that matter little for what the layer reads become zero: `|w_oi| · ‖x_i‖` is least. Sun et al. 2024, arXiv:2306.11695.

use super::mask::{mask, zeros};
use super::matrix::Matrix;
use super::{Calibration, Step};
use crate::decoder::{Decoder, linears};

headwise_spec::method! {
    /// Zeros the weights with the least magnitude times the norm of their input, in every row alike.
    ///
    /// Needs a calibration text. Zeros make a file no smaller and a product no faster by themselves. Sun et al. 2024, arXiv:2306.11695.
    pub struct Wanda {
        /// Share of the weights that become zero.
        pub share: f64 = 0.5,
        /// `[2, 4]` keeps 2 of every 4 neighbours, whatever the share.
        pub keep_of: Option<[usize; 2]> = None,
    }
}

/// Zeros weights of all layers, each by what it reads after the layers before it.
pub(super) fn run(
    method: &Wanda,
    model: &mut Decoder,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step),
) -> String {
    let parts = model.blocks.len();
    let mut reading = calibration.start(model);
    let (mut zero, mut weights) = (0, 0);
    for layer in 0..parts {
        progress(Step { done: layer, parts });
        let inputs = reading.inputs(model, layer);
        for (name, linear) in linears(&mut model.blocks[layer]) {
            let (Some(mut matrix), Some(inputs)) = (Matrix::of(linear), inputs.get(name)) else { continue };
            let norms = inputs.norms();
            mask(&mut matrix, method.share, method.keep_of, |weight, input| weight.abs() * norms[input]);
            zero += matrix.values.iter().filter(|weight| **weight == 0.0).count();
            weights += matrix.values.len();
            matrix.put(linear);
        }
        reading.advance(model, layer);
    }
    zeros(zero, weights)
}

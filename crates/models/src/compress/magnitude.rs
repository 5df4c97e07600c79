//! Magnitude pruning: the smallest weights become zero. Han et al. 2015, arXiv:1506.02626.

use super::Step;
use super::mask::{mask, zeros};
use super::matrix::Matrix;
use crate::decoder::{Decoder, linears};

headwise_spec::method! {
    /// Zeros the weights of smallest magnitude, in every row alike.
    ///
    /// Zeros make a file no smaller and a product no faster by themselves. Han et al. 2015, arXiv:1506.02626.
    pub struct Magnitude {
        /// Share of the weights that become zero.
        pub share: f64 = 0.5,
        /// `[2, 4]` keeps the 2 largest of every 4 neighbours, whatever the share.
        pub keep_of: Option<[usize; 2]> = None,
    }
}

/// Zeros weights of all layers.
pub(super) fn run(method: &Magnitude, model: &mut Decoder, progress: &mut dyn FnMut(Step)) -> String {
    let parts = model.blocks.len();
    let (mut zero, mut weights) = (0, 0);
    for (done, block) in model.blocks.iter_mut().enumerate() {
        progress(Step { done, parts });
        for (_, linear) in linears(block) {
            let Some(mut matrix) = Matrix::of(linear) else { continue };
            mask(&mut matrix, method.share, method.keep_of, |weight, _| weight.abs());
            zero += matrix.values.iter().filter(|weight| **weight == 0.0).count();
            weights += matrix.values.len();
            matrix.put(linear);
        }
    }
    zeros(zero, weights)
}

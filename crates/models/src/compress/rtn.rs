//! Round to nearest: every weight becomes the nearest point of its group's grid. Needs no data; the baseline of all others.

use headwise_kernels::parallel;

use super::matrix::Matrix;
use super::quantisation::Grids;
use super::{CompressError, Quantisation};
use crate::decoder::{Decoder, Encoded, linears};
use crate::gguf::quantise::{BLOCK, Grid};

headwise_spec::method! {
    /// Rounds every weight to the nearest point of its group's grid.
    ///
    /// Without data; the baseline of all other methods.
    pub struct Rtn {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 4,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row.
        pub group: usize = 32,
        /// Grids lie around zero; else each has a minimum too (up to 5 bits).
        pub symmetric: bool = true,
    }
}

impl Rtn {
    /// An error if the parameters make no method.
    pub fn check(&self) -> Result<(), CompressError> {
        Quantisation::from(self.clone()).check()
    }

    /// Rounds the matrices of the layers of `model`, whose weights are trainable: they become those that a file would hold. Rows that are
    /// no whole blocks of 32 stay as they are, and so do matrices of mixers other than `softmax`; parameters that do not make a method
    /// round nothing.
    pub fn round(&self, model: &mut Decoder) {
        let Ok(grids) = Quantisation::from(self.clone()).grids() else { return };
        for (_, linear) in model.blocks.iter_mut().flat_map(linears) {
            if let Some(matrix) = Matrix::of(linear).filter(|matrix| matrix.inputs.is_multiple_of(BLOCK)) {
                Matrix { values: nearest(&matrix, grids), inputs: matrix.inputs }.put(linear);
            }
        }
    }
}

/// The matrix on its grids.
pub(super) fn encode(matrix: &Matrix, grids: Grids) -> Encoded {
    let (inputs, ty) = (matrix.inputs, grids.ty);
    let row_bytes = inputs / BLOCK * ty.block_bytes();
    let mut bytes = vec![0; matrix.values.len() / inputs * row_bytes];
    parallel::pieces(&mut bytes, row_bytes, |row, out| {
        let weights = &matrix.values[row * inputs..][..inputs];
        let group_bytes = grids.group(inputs) / BLOCK * ty.block_bytes();
        for (group, out) in weights.chunks(grids.group(inputs)).zip(out.chunks_mut(group_bytes)) {
            let grid = Grid::of(grids.form, group);
            store(grid, grids, group.iter().map(|&weight| grid.code(weight)), out);
        }
    });
    Encoded { ty, bytes }
}

/// Writes the codes of a group, block by block.
pub(super) fn store(grid: Grid, grids: Grids, codes: impl Iterator<Item = u8>, out: &mut [u8]) {
    let mut block = [0; BLOCK];
    let mut blocks = out.chunks_exact_mut(grids.ty.block_bytes());
    for (i, code) in codes.enumerate() {
        block[i % BLOCK] = code;
        if i % BLOCK == BLOCK - 1
            && let Some(out) = blocks.next()
        {
            grid.store(grids.ty, &block, out);
        }
    }
}

/// The weights that [`encode`] would store.
pub(super) fn nearest(matrix: &Matrix, grids: Grids) -> Vec<f32> {
    let mut values = matrix.values.clone();
    let length = grids.group(matrix.inputs);
    parallel::pieces(&mut values, matrix.inputs, |_, row| {
        for group in row.chunks_mut(length) {
            let grid = Grid::of(grids.form, group);
            group.iter_mut().for_each(|weight| *weight = grid.weight(grid.code(*weight)));
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{TensorType, dequantise, quantise};

    fn matrix(inputs: usize) -> Matrix {
        Matrix { values: (0..5 * inputs).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.47).collect(), inputs }
    }

    fn grids(text: &str) -> Grids {
        headwise_spec::from_text::<Quantisation>(text).unwrap().grids().unwrap()
    }

    #[test]
    fn groups_of_32_are_the_types_of_gguf() {
        let matrix = matrix(96);
        for (text, ty) in [
            ("rtn", TensorType::Q4_0),
            ("rtn(symmetric=false)", TensorType::Q4_1),
            ("rtn(bits=5)", TensorType::Q5_0),
            ("rtn(bits=5, symmetric=false)", TensorType::Q5_1),
            ("rtn(bits=8)", TensorType::Q8_0),
        ] {
            let Encoded { ty: found, bytes } = encode(&matrix, grids(text));
            assert_eq!((found, bytes), (ty, quantise(ty, &matrix.values, 96).unwrap()), "{text}");
        }
    }

    #[test]
    fn larger_groups_and_fewer_bits_are_stored_exactly() {
        let matrix = matrix(160);
        for text in ["rtn(bits=3)", "rtn(group=64)", "rtn(bits=6, group=128)", "rtn(group=0)", "bct(bits=4)", "bct"] {
            let grids = grids(text);
            let Encoded { ty, bytes } = encode(&matrix, grids);
            let mut stored = vec![f32::NAN; matrix.values.len()];
            dequantise(ty, &bytes, &mut stored).unwrap();
            assert_eq!(stored, nearest(&matrix, grids), "{text}");
        }
    }
}

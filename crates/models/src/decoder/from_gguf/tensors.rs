//! The tensors of a GGUF file as weights of a decoder.

use std::cell::RefCell;
use std::collections::HashSet;

use headwise_kernels::matrix::{Format, PackedMatrix};

use super::super::LoadError;
use super::super::load::{Source, halves, halves_apart};
use crate::gguf::{Gguf, TensorInfo, TensorType, dequantise};

/// Divisors of the rotary angles: part of the description, not a weight.
pub const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// The tensors of a file, and which of them were asked for.
pub struct Tensors<'a> {
    gguf: &'a Gguf,
    used: RefCell<HashSet<String>>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `gguf`.
    pub fn new(gguf: &'a Gguf) -> Self {
        Self { gguf, used: RefCell::default() }
    }

    /// An error if there are tensors that nobody asked for.
    pub fn check_unused(&self, architecture: &str) -> Result<(), LoadError> {
        let used = self.used.borrow();
        let names = self.gguf.tensors().iter().map(|tensor| tensor.name.as_str());
        LoadError::check_unused(architecture, names.filter(|&name| !used.contains(name) && name != ROPE_DIVISORS))
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo, LoadError> {
        let tensor = self.gguf.tensor(name).ok_or_else(|| LoadError::missing(name))?;
        LoadError::check_shape(name, &tensor.shape, shape)?;
        self.used.borrow_mut().insert(name.to_owned());
        Ok(tensor)
    }
}

impl Source for Tensors<'_> {
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        floats(self.find(name, shape)?, shape)
    }

    fn packed(&self, name: &str, shape: [usize; 2], interleaved: Option<usize>) -> Result<PackedMatrix, LoadError> {
        let tensor = self.find(name, &shape)?;
        let [outputs, inputs] = shape;
        let bytes = tensor.blob.bytes();
        let reordered = interleaved.map(|heads| halves_apart(bytes, heads, bytes.len() / outputs));
        let bytes = reordered.as_deref().unwrap_or(bytes);
        match format(tensor.ty) {
            Some(format) => PackedMatrix::from_blocks(format, bytes, outputs, inputs)
                .map_err(|source| LoadError::Pack { name: name.into(), source }),
            None if tensor.ty == TensorType::F16 => Ok(PackedMatrix::from_f16_bits(&halves(bytes), outputs, inputs)),
            None if tensor.ty == TensorType::BF16 => Ok(PackedMatrix::from_bf16_bits(&halves(bytes), outputs, inputs)),
            None => Ok(PackedMatrix::from_f32(&decode(tensor, bytes, outputs * inputs)?, outputs, inputs)),
        }
    }
}

/// The block format that keeps tensors of type `ty` as they are.
fn format(ty: TensorType) -> Option<Format> {
    Some(match ty {
        TensorType::Q8_0 => Format::Q8_0,
        TensorType::Q4_0 => Format::Q4_0,
        TensorType::Q4_1 => Format::Q4_1,
        TensorType::Q5_0 => Format::Q5_0,
        TensorType::Q5_1 => Format::Q5_1,
        TensorType::Q3_K => Format::Q3K,
        TensorType::Q4_K => Format::Q4K,
        TensorType::Q5_K => Format::Q5K,
        TensorType::Q6_K => Format::Q6K,
        _ => return None,
    })
}

/// The elements of `tensor`, which must have `shape`.
pub fn floats(tensor: &TensorInfo, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
    LoadError::check_shape(&tensor.name, &tensor.shape, shape)?;
    decode(tensor, tensor.blob.bytes(), shape.iter().product())
}

fn decode(tensor: &TensorInfo, bytes: &[u8], elements: usize) -> Result<Vec<f32>, LoadError> {
    let mut out = vec![0.0; elements];
    dequantise(tensor.ty, bytes, &mut out)
        .map_err(|source| LoadError::Dequantise { name: tensor.name.clone(), source })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped::Mapped;

    /// For each type a tensor, and its values by an independent implementation.
    const GOLDEN: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf_blocks.gguf"));

    #[test]
    fn packed_rows_are_the_golden_values_to_the_bit() {
        let golden = Gguf::parse(Mapped::from(GOLDEN.to_vec())).unwrap();
        let mut formats = Vec::new();
        for (ty, format) in TensorType::all().filter_map(|ty| Some((ty, format(ty)?))) {
            let tensor = golden.tensor(ty.name()).unwrap();
            let inputs = *tensor.shape.last().unwrap();
            let outputs = tensor.elements() / inputs;
            let matrix = PackedMatrix::from_blocks(format, tensor.blob.bytes(), outputs, inputs).unwrap();
            let expected = golden.tensor(&format!("{ty}.expected")).unwrap();
            let expected: Vec<f32> =
                expected.blob.bytes().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let mut row = vec![0.0; inputs];
            for (index, expected) in expected.chunks_exact(inputs).enumerate() {
                matrix.row(index, &mut row);
                for (found, expected) in row.iter().zip(expected) {
                    // Only the sign of a zero may differ.
                    assert!(found == expected || found.is_nan() && expected.is_nan(), "{ty}: {found} for {expected}");
                }
            }
            formats.push(format);
        }
        assert_eq!(formats.len(), 9, "{formats:?}");
    }
}

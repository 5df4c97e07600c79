//! Reference dequantisation: blocks of any supported type to `f32`, readable rather than fast.
//!
//! A block is a fixed number of consecutive elements of a row, stored as small integers and the scales that turn them
//! back into numbers. [`legacy`] has the blocks of 32 with one scale each, [`k`] the blocks of 256 with scales of
//! scales. Products and sums are in `f32`, in the order of the formulas, so that results are the same to the bit as
//! those of other implementations.

mod k;
mod legacy;

use half::{bf16, f16};

use super::tensor_type::TensorType;

/// Why bytes could not be dequantised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DequantiseError {
    /// The number of elements is not a whole number of blocks.
    #[error("{elements} elements are not a whole number of {ty} blocks of {}", ty.block_size())]
    PartialBlock {
        /// The type of the elements.
        ty: TensorType,
        /// The number of elements asked for.
        elements: usize,
    },
    /// The bytes are too few or too many.
    #[error("{elements} elements of {ty} take {expected} bytes, not {found}")]
    WrongLength {
        /// The type of the elements.
        ty: TensorType,
        /// The number of elements asked for.
        elements: usize,
        /// The bytes they take.
        expected: usize,
        /// The bytes given.
        found: usize,
    },
    /// Integers are data of another kind (ids, positions): they are not weights.
    #[error("{ty} holds integers, which are not dequantised; floating-point and quantised types are")]
    Integer {
        /// The type of the elements.
        ty: TensorType,
    },
}

/// Turns `bytes`, elements of type `ty`, into `out`, whose length is the number of elements.
pub fn dequantise(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantiseError> {
    let elements = out.len();
    let expected = ty.bytes_for(elements).ok_or(DequantiseError::PartialBlock { ty, elements })?;
    if bytes.len() != expected {
        return Err(DequantiseError::WrongLength { ty, elements, expected, found: bytes.len() });
    }
    match ty {
        TensorType::F32 => blocks(bytes, out, |block: &[u8; 4], [y]: &mut [f32; 1]| *y = f32::from_le_bytes(*block)),
        TensorType::F16 => {
            blocks(bytes, out, |block: &[u8; 2], [y]: &mut [f32; 1]| *y = f16::from_le_bytes(*block).to_f32());
        }
        TensorType::BF16 => {
            blocks(bytes, out, |block: &[u8; 2], [y]: &mut [f32; 1]| *y = bf16::from_le_bytes(*block).to_f32());
        }
        TensorType::F64 => {
            blocks(bytes, out, |block: &[u8; 8], [y]: &mut [f32; 1]| *y = f64::from_le_bytes(*block) as f32);
        }
        TensorType::Q4_0 => blocks(bytes, out, legacy::q4_0),
        TensorType::Q4_1 => blocks(bytes, out, legacy::q4_1),
        TensorType::Q5_0 => blocks(bytes, out, legacy::q5_0),
        TensorType::Q5_1 => blocks(bytes, out, legacy::q5_1),
        TensorType::Q8_0 => blocks(bytes, out, legacy::q8_0),
        TensorType::Q2_K => blocks(bytes, out, k::q2_k),
        TensorType::Q3_K => blocks(bytes, out, k::q3_k),
        TensorType::Q4_K => blocks(bytes, out, k::q4_k),
        TensorType::Q5_K => blocks(bytes, out, k::q5_k),
        TensorType::Q6_K => blocks(bytes, out, k::q6_k),
        TensorType::I8 | TensorType::I16 | TensorType::I32 | TensorType::I64 => {
            return Err(DequantiseError::Integer { ty });
        }
    }
    Ok(())
}

/// Applies `one` to each block of `BYTES` bytes and its `SIZE` elements.
fn blocks<const BYTES: usize, const SIZE: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; SIZE]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        one(block, out);
    }
}

/// The `f16` at byte `at` of a block.
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::mapped::Mapped;

    /// Written by `oracles/gguf_blocks.py`: for each type a tensor, and its values by an independent implementation.
    const GOLDEN: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf_blocks.gguf"));

    #[test]
    fn every_type_equals_the_golden_values_to_the_bit() {
        let golden = Gguf::parse(Mapped::from(GOLDEN.to_vec())).expect("a valid file");
        for ty in TensorType::all().filter(|ty| !ty.name().starts_with('I')) {
            let tensor = golden.tensor(ty.name()).unwrap_or_else(|| panic!("no {ty} in the golden file"));
            let expected = golden.tensor(&format!("{ty}.expected")).expect("values beside each tensor");
            assert_eq!((tensor.ty, &tensor.shape), (ty, &expected.shape));
            let mut values = vec![f32::NAN; tensor.elements()];
            dequantise(ty, tensor.blob.bytes(), &mut values).expect("whole blocks");
            for (i, (value, bytes)) in values.iter().zip(expected.blob.bytes().as_chunks().0).enumerate() {
                let wanted = f32::from_le_bytes(*bytes);
                assert_eq!(value.to_bits(), wanted.to_bits(), "{ty}, element {i}: {value}, expected {wanted}");
            }
        }
    }

    #[test]
    fn lengths_must_match() {
        use TensorType::{I32, Q4_0};
        let mut out = [0.0; 32];
        assert_eq!(dequantise(Q4_0, &[0; 18], &mut out), Ok(()));
        assert!(matches!(dequantise(Q4_0, &[0; 18], &mut out[1..]), Err(DequantiseError::PartialBlock { .. })));
        assert!(matches!(dequantise(Q4_0, &[0; 17], &mut out), Err(DequantiseError::WrongLength { .. })));
        assert_eq!(dequantise(I32, &[0; 128], &mut out), Err(DequantiseError::Integer { ty: I32 }));
    }
}

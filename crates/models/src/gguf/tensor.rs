//! The tensor directory of a GGUF file: names, shapes, types, and where the bytes are.
//!
//! An entry is a string (the name), a `u32` number of dimensions, one `u64` per dimension (innermost first), the `u32`
//! type and a `u64` offset from the start of the tensor data, which begins at the first multiple of the alignment
//! after the directory.

use std::collections::HashSet;

use super::error::GgufError;
use super::reader::Reader;
use super::tensor_type::TensorType;
use crate::mapped::{Blob, Mapped};

/// The most dimensions that ggml allows.
pub(super) const MAX_DIMENSIONS: u32 = 4;

/// A tensor of a GGUF file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// The lengths of the dimensions, outermost first: `[out, in]` for the matrix of a linear layer. A row, along the
    /// last dimension, is contiguous and a whole number of blocks.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub ty: TensorType,
    /// The bytes in the file.
    pub blob: Blob,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        // The parser has checked that the product does not overflow.
        self.shape.iter().product()
    }
}

/// An entry of the directory whose place in the file is not checked yet.
pub(super) struct Entry {
    name: String,
    shape: Vec<usize>,
    ty: TensorType,
    /// The size of the tensor.
    bytes: usize,
    /// From the start of the tensor data.
    offset: u64,
}

impl Entry {
    /// The fewest bytes an entry takes: an empty name, no dimensions, the type and the offset.
    pub(super) const SMALLEST: usize = 8 + 4 + 4 + 8;

    /// Reads one entry.
    pub(super) fn read(reader: &mut Reader, number: usize) -> Result<Self, GgufError> {
        let name = reader.string(|| format!("the name of tensor {number}"))?.to_owned();
        let tensor = || name.clone();
        let dimensions = reader.u32(|| format!("the number of dimensions of tensor {name:?}"))?;
        if dimensions > MAX_DIMENSIONS {
            return Err(GgufError::TooManyDimensions { tensor: tensor(), found: dimensions });
        }
        let mut shape = (0..dimensions)
            .map(|_| reader.u64(|| format!("the shape of tensor {name:?}")))
            .collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let number = reader.u32(|| format!("the type of tensor {name:?}"))?;
        let ty = TensorType::from_number(number)
            .ok_or_else(|| GgufError::UnsupportedTensorType { tensor: tensor(), number })?;
        let offset = reader.u64(|| format!("the offset of tensor {name:?}"))?;
        let (shape, bytes) = checked_shape(&name, shape, ty)?;
        Ok(Self { name, shape, ty, bytes, offset })
    }

    /// Finds the bytes in `file`, whose tensor data begins at `data`.
    fn locate(self, file: &Mapped, data: usize, alignment: usize) -> Result<TensorInfo, GgufError> {
        let Entry { name, shape, ty, bytes, offset } = self;
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::OffsetNotAligned { tensor: name, offset, alignment });
        }
        let start = usize::try_from(offset).ok().and_then(|offset| data.checked_add(offset));
        let end = start.and_then(|start| start.checked_add(bytes));
        let blob = start.zip(end).and_then(|(start, end)| file.blob(start..end));
        match blob {
            Some(blob) => Ok(TensorInfo { name, shape, ty, blob }),
            None => {
                let available = file.bytes().len().saturating_sub(data);
                Err(GgufError::OffsetOutOfRange { tensor: name, offset, bytes, available })
            }
        }
    }
}

/// The shape in sizes that can be addressed, and the bytes it takes.
pub(super) fn checked_shape(name: &str, shape: Vec<u64>, ty: TensorType) -> Result<(Vec<usize>, usize), GgufError> {
    let tensor = name.to_owned();
    if shape.contains(&0) {
        return Err(GgufError::ZeroDimension { tensor, shape });
    }
    let lengths = shape.iter().map(|&length| usize::try_from(length).ok()).collect::<Option<Vec<usize>>>();
    let elements = lengths.as_ref().and_then(|lengths| lengths.iter().try_fold(1usize, |n, &l| n.checked_mul(l)));
    let Some((lengths, elements)) = lengths.zip(elements) else {
        return Err(GgufError::ShapeOverflow { tensor, shape });
    };
    let row = lengths.last().copied().unwrap_or(1);
    if !row.is_multiple_of(ty.block_size()) {
        return Err(GgufError::RowNotDivisible { tensor, row, ty });
    }
    match ty.bytes_for(elements) {
        Some(bytes) => Ok((lengths, bytes)),
        None => Err(GgufError::ShapeOverflow { tensor, shape }),
    }
}

/// Finds the bytes of every entry; names must be unique and ranges must not overlap.
pub(super) fn locate(
    entries: Vec<Entry>,
    file: &Mapped,
    data: usize,
    alignment: usize,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut names = HashSet::with_capacity(entries.len());
    for entry in &entries {
        if !names.insert(entry.name.as_str()) {
            return Err(GgufError::DuplicateTensor { tensor: entry.name.clone() });
        }
    }
    let tensors =
        entries.into_iter().map(|entry| entry.locate(file, data, alignment)).collect::<Result<Vec<_>, _>>()?;
    let mut by_start: Vec<&TensorInfo> = tensors.iter().collect();
    by_start.sort_by_key(|tensor| tensor.blob.range().start);
    for pair in by_start.windows(2) {
        if pair[1].blob.range().start < pair[0].blob.range().end {
            return Err(GgufError::OverlappingTensors { first: pair[0].name.clone(), second: pair[1].name.clone() });
        }
    }
    Ok(tensors)
}

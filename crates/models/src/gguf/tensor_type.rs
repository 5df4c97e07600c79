//! The element types of GGUF tensors: plain numbers, and blocks of numbers that share scales.

use std::fmt;

/// The type of a tensor's elements, named as ggml names it.
///
/// A quantised row is a sequence of blocks of [`block_size`](Self::block_size) elements and
/// [`block_bytes`](Self::block_bytes) bytes; plain types are blocks of one. The layout of each block is documented in
/// [`dequantise`](super::dequantise()).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum TensorType {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// One row of the table of types.
struct Layout {
    ty: TensorType,
    name: &'static str,
    /// The number that stands for the type in a file.
    number: u32,
    block_size: usize,
    block_bytes: usize,
}

const fn layout(ty: TensorType, name: &'static str, number: u32, block_size: usize, block_bytes: usize) -> Layout {
    Layout { ty, name, number, block_size, block_bytes }
}

/// In the order of the enum, so that a type indexes its row.
const LAYOUTS: [Layout; 18] = [
    layout(TensorType::F32, "F32", 0, 1, 4),
    layout(TensorType::F16, "F16", 1, 1, 2),
    layout(TensorType::BF16, "BF16", 30, 1, 2),
    layout(TensorType::F64, "F64", 28, 1, 8),
    layout(TensorType::I8, "I8", 24, 1, 1),
    layout(TensorType::I16, "I16", 25, 1, 2),
    layout(TensorType::I32, "I32", 26, 1, 4),
    layout(TensorType::I64, "I64", 27, 1, 8),
    layout(TensorType::Q4_0, "Q4_0", 2, 32, 18),
    layout(TensorType::Q4_1, "Q4_1", 3, 32, 20),
    layout(TensorType::Q5_0, "Q5_0", 6, 32, 22),
    layout(TensorType::Q5_1, "Q5_1", 7, 32, 24),
    layout(TensorType::Q8_0, "Q8_0", 8, 32, 34),
    layout(TensorType::Q2_K, "Q2_K", 10, 256, 84),
    layout(TensorType::Q3_K, "Q3_K", 11, 256, 110),
    layout(TensorType::Q4_K, "Q4_K", 12, 256, 144),
    layout(TensorType::Q5_K, "Q5_K", 13, 256, 176),
    layout(TensorType::Q6_K, "Q6_K", 14, 256, 210),
];

impl TensorType {
    /// The supported type with this ggml number.
    pub fn from_number(number: u32) -> Option<Self> {
        LAYOUTS.iter().find(|layout| layout.number == number).map(|layout| layout.ty)
    }

    /// The number that stands for the type in a GGUF file.
    pub fn number(self) -> u32 {
        self.layout().number
    }

    /// The ggml name.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// Elements per block.
    pub fn block_size(self) -> usize {
        self.layout().block_size
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.layout().block_bytes
    }

    /// The bytes of `elements` elements; `None` if that is not a whole number of blocks, or overflows.
    pub fn bytes_for(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_size()) {
            return None;
        }
        (elements / self.block_size()).checked_mul(self.block_bytes())
    }

    /// Whether elements share scales in blocks.
    pub fn is_quantised(self) -> bool {
        self.block_size() > 1
    }

    /// Every supported type.
    pub fn all() -> impl Iterator<Item = Self> {
        LAYOUTS.iter().map(|layout| layout.ty)
    }

    /// The names of every supported type.
    pub fn names() -> Vec<&'static str> {
        LAYOUTS.iter().map(|layout| layout.name).collect()
    }

    fn layout(self) -> &'static Layout {
        &LAYOUTS[self as usize]
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of any type that ggml has defined, supported here or not: for error messages.
pub(super) fn ggml_type_name(number: u32) -> Option<&'static str> {
    const OTHERS: [(u32, &str); 24] = [
        (4, "Q4_2, removed from ggml"),
        (5, "Q4_3, removed from ggml"),
        (9, "Q8_1"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (29, "IQ1_M"),
        (31, "Q4_0_4_4, removed from GGUF"),
        (32, "Q4_0_4_8, removed from GGUF"),
        (33, "Q4_0_8_8, removed from GGUF"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (36, "IQ4_NL_4_4, removed from GGUF"),
        (37, "IQ4_NL_4_8, removed from GGUF"),
        (38, "IQ4_NL_8_8, removed from GGUF"),
        (39, "MXFP4"),
        (40, "NVFP4"),
        (41, "Q1_0"),
    ];
    TensorType::from_number(number)
        .map(TensorType::name)
        .or_else(|| OTHERS.iter().find(|(other, _)| *other == number).map(|(_, name)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_indexes_its_own_row() {
        for ty in TensorType::all() {
            assert_eq!(format!("{ty:?}"), ty.name());
            assert_eq!(TensorType::from_number(ty.number()), Some(ty));
        }
    }

    #[test]
    fn sizes_come_in_whole_blocks() {
        assert_eq!(TensorType::Q4_1.bytes_for(64), Some(40));
        assert_eq!(TensorType::Q4_1.bytes_for(63), None);
        assert_eq!(TensorType::F64.bytes_for(usize::MAX), None);
    }
}

//! What can be wrong with a GGUF file: one variant for each way it can be malformed.

use std::path::PathBuf;

use super::metadata::MetadataError;
use super::tensor_type::{TensorType, ggml_type_name};

/// Why a GGUF file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file could not be opened or mapped.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Any other error of this list, with the file it is about.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<GgufError>,
    },
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with \"{}\" instead of \"GGUF\"", found.escape_ascii())]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version this parser does not read.
    #[error("GGUF version {found} is not supported; supported are 2 and 3")]
    UnsupportedVersion {
        /// The version in the header.
        found: u32,
    },
    /// The version reads sensibly only with its bytes reversed.
    #[error("a big-endian GGUF file (version {version}); only little-endian files are supported")]
    BigEndian {
        /// The version, read big-endian.
        version: u32,
    },
    /// The file ends inside something.
    #[error("truncated: {what} at byte {offset} needs {needed} bytes, {available} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it starts in the file.
        offset: usize,
        /// Its size in bytes.
        needed: usize,
        /// The bytes from there to the end.
        available: usize,
    },
    /// A count that the rest of the file cannot hold.
    #[error("{what} claims {count} entries, but the {available} bytes left hold at most {most}")]
    CountTooLarge {
        /// What was counted.
        what: String,
        /// The claimed count.
        count: u64,
        /// The bytes left in the file.
        available: usize,
        /// The largest count those bytes could hold.
        most: usize,
    },
    /// A string longer than the rest of the file.
    #[error("{what} claims {length} bytes, but only {available} are left")]
    StringTooLong {
        /// Which string.
        what: String,
        /// The claimed length in bytes.
        length: u64,
        /// The bytes left in the file.
        available: usize,
    },
    /// A string that is not UTF-8.
    #[error("{what} at byte {offset} is not valid UTF-8")]
    InvalidUtf8 {
        /// Which string.
        what: String,
        /// Where it starts in the file.
        offset: usize,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("{what} is the boolean {found}; a boolean is 0 or 1")]
    InvalidBool {
        /// Which value.
        what: String,
        /// The byte found.
        found: u8,
    },
    /// The same metadata key twice.
    #[error("metadata key {key:?} appears twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A metadata value of a type that GGUF does not define.
    #[error("metadata key {key:?} has the unknown value type {number}; GGUF defines 0 to 12")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type number found.
        number: u32,
    },
    /// Arrays of arrays, deeper than allowed.
    #[error("metadata key {key:?} nests arrays more than {limit} deep")]
    NestedTooDeep {
        /// The key.
        key: String,
        /// The deepest nesting allowed.
        limit: usize,
    },
    /// An alignment that is not a power of two.
    #[error("general.alignment is {found}; it must be a power of two, at most 2^30")]
    BadAlignment {
        /// The alignment in the metadata.
        found: u64,
    },
    /// A metadata value that the file format itself needs is of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The same tensor name twice.
    #[error("tensor {tensor:?} appears twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// More dimensions than ggml has.
    #[error("tensor {tensor:?} has {found} dimensions; at most 4 are allowed")]
    TooManyDimensions {
        /// The tensor.
        tensor: String,
        /// The number of dimensions found.
        found: u32,
    },
    /// A dimension of length zero.
    #[error("tensor {tensor:?} has the shape {shape:?}; no dimension may be 0")]
    ZeroDimension {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// A shape with more elements or bytes than can be addressed.
    #[error("tensor {tensor:?} has the shape {shape:?}, whose size overflows")]
    ShapeOverflow {
        /// The tensor.
        tensor: String,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// A tensor type without an implementation here.
    #[error(
        "tensor {tensor:?} has the unsupported type {number} ({}); supported are {}",
        ggml_type_name(*number).unwrap_or("unknown to ggml"),
        TensorType::names().join(", ")
    )]
    UnsupportedTensorType {
        /// The tensor.
        tensor: String,
        /// The ggml number of its type.
        number: u32,
    },
    /// A row that is not a whole number of blocks.
    #[error("tensor {tensor:?} has rows of {row} elements; {ty} needs a multiple of {}", ty.block_size())]
    RowNotDivisible {
        /// The tensor.
        tensor: String,
        /// The length of its innermost dimension.
        row: usize,
        /// Its type.
        ty: TensorType,
    },
    /// Bytes of another number than the shape and the type say.
    #[error("tensor {tensor:?} of type {ty} takes {expected} bytes, not {found}")]
    WrongSize {
        /// The tensor.
        tensor: String,
        /// Its type.
        ty: TensorType,
        /// The bytes it takes.
        expected: usize,
        /// The bytes given.
        found: usize,
    },
    /// An offset that is not a multiple of the alignment.
    #[error("tensor {tensor:?} is at offset {offset}, which is not a multiple of the alignment {alignment}")]
    OffsetNotAligned {
        /// The tensor.
        tensor: String,
        /// Its offset into the tensor data.
        offset: u64,
        /// The file's alignment.
        alignment: usize,
    },
    /// A tensor that is not inside the file.
    #[error(
        "tensor {tensor:?} takes {bytes} bytes at offset {offset}, but the file holds {available} bytes of tensor data"
    )]
    OffsetOutOfRange {
        /// The tensor.
        tensor: String,
        /// Its offset into the tensor data.
        offset: u64,
        /// Its size in bytes.
        bytes: usize,
        /// The bytes of tensor data in the file.
        available: usize,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    OverlappingTensors {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
    },
}

//! GGUF: the single-file model format of ggml and llama.cpp, with metadata, tokenizer and quantised weights.
//!
//! ```text
//! magic "GGUF" · u32 version · u64 tensor count · u64 metadata count      all numbers little-endian
//! metadata:  key, type, value                                             see `value`
//! directory: name, dimensions, type, offset                               see `tensor`
//! padding to general.alignment (32 unless the metadata says otherwise)
//! tensor data, each tensor at a multiple of the alignment
//! ```
//!
//! Versions 2 and 3 are read. The parser trusts nothing: counts, lengths and offsets are checked against the bytes
//! that are there before anything is allocated or read, and each way to be malformed has its own [`GgufError`]. Tensor
//! bytes stay in the mapped file. [`Gguf::new`] and [`Gguf::write`] make such files. Specification: `docs/gguf.md` of the
//! ggml repository.

use std::collections::HashMap;
use std::path::Path;

mod error;
mod metadata;
mod reader;
mod tensor;
mod tensor_type;
mod value;
mod write;

pub mod dequantise;
pub mod quantise;

pub use dequantise::{DequantiseError, dequantise};
pub use error::GgufError;
pub use metadata::{Metadata, MetadataError};
pub use quantise::{QuantiseError, quantise};
pub use tensor::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Array, MAX_ARRAY_DEPTH, Value};
pub use write::GgufWriteError;

use crate::mapped::Mapped;
use reader::Reader;
use tensor::Entry;

/// Tensors start at multiples of this unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: usize = 32;
const MAX_ALIGNMENT: u64 = 1 << 30;

/// The fewest bytes a key and its value take: an empty key, a type and a byte.
const SMALLEST_PAIR: usize = 8 + 4 + 1;

/// A parsed GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Gguf {
    /// Maps and parses the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let file = Mapped::open(path).map_err(|source| GgufError::Io { path: path.to_owned(), source })?;
        Self::parse(file).map_err(|error| GgufError::InFile { path: path.to_owned(), error: Box::new(error) })
    }

    /// Parses a file that is mapped already.
    pub fn parse(file: Mapped) -> Result<Self, GgufError> {
        let mut reader = Reader::new(file.bytes());
        let version = read_version(&mut reader)?;
        let tensor_count = reader.count(Entry::SMALLEST, || "the tensor count".to_owned())?;
        let pair_count = reader.count(SMALLEST_PAIR, || "the metadata count".to_owned())?;
        let metadata = read_metadata(&mut reader, pair_count)?;
        let alignment = alignment(&metadata)?;
        let entries =
            (0..tensor_count).map(|number| Entry::read(&mut reader, number)).collect::<Result<Vec<_>, _>>()?;
        // Cannot overflow: a position in memory is below 2^63, an alignment at most 2^30.
        let data = reader.position().next_multiple_of(alignment);
        let tensors = tensor::locate(entries, &file, data, alignment)?;
        Ok(Self::of_parts(version, metadata, tensors))
    }

    fn of_parts(version: u32, metadata: Metadata, tensors: Vec<TensorInfo>) -> Self {
        let index = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        Self { version, metadata, tensors, index }
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }
}

fn read_version(reader: &mut Reader) -> Result<u32, GgufError> {
    let magic: [u8; 4] = reader.array(|| "the magic number".to_owned())?;
    if magic != *b"GGUF" {
        return Err(GgufError::BadMagic { found: magic });
    }
    let version = reader.u32(|| "the version".to_owned())?;
    match version {
        2 | 3 => Ok(version),
        _ if matches!(version.swap_bytes(), 1..=3) => Err(GgufError::BigEndian { version: version.swap_bytes() }),
        _ => Err(GgufError::UnsupportedVersion { found: version }),
    }
}

fn read_metadata(reader: &mut Reader, count: usize) -> Result<Metadata, GgufError> {
    let mut metadata = Metadata::default();
    for number in 0..count {
        let key = reader.string(|| format!("metadata key {number}"))?;
        if metadata.contains(key) {
            return Err(GgufError::DuplicateKey { key: key.to_owned() });
        }
        let value = Value::read(reader, key)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(metadata: &Metadata) -> Result<usize, GgufError> {
    match metadata.optional_u64("general.alignment")? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(found) if found.is_power_of_two() && found <= MAX_ALIGNMENT => Ok(found as usize),
        Some(found) => Err(GgufError::BadAlignment { found }),
    }
}

//! What can be wrong with a safetensors checkpoint: one variant for each way it can be malformed.

use std::path::PathBuf;

use ::safetensors::Dtype;

use super::header::MAX_HEADER_BYTES;

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file could not be opened or mapped.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Neither one file nor an index of shards.
    #[error("{} holds neither model.safetensors nor model.safetensors.index.json", folder.display())]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is malformed.
    #[error("{}: {error}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: HeaderError,
    },
    /// The index of shards is not the JSON it should be.
    #[error("{} is not an index of shards: {source}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What the parser said, and where.
        source: serde_json::Error,
    },
    /// The index names a shard that is not a file beside it.
    #[error("{} puts {tensor:?} into {shard:?}; a shard must be the name of a file in the same folder", path.display())]
    ShardOutsideFolder {
        /// The index.
        path: PathBuf,
        /// A tensor said to be in the shard.
        tensor: String,
        /// The shard's name.
        shard: String,
    },
    /// The index names a shard that is not there.
    #[error("shard {} is missing; {} puts {tensor:?} into it", shard.display(), index.display())]
    MissingShard {
        /// The missing file.
        shard: PathBuf,
        /// The index.
        index: PathBuf,
        /// A tensor said to be in the shard.
        tensor: String,
    },
    /// A shard does not hold a tensor that the index puts into it.
    #[error("{} does not hold the tensor {tensor:?} that {} puts into it", shard.display(), index.display())]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: PathBuf,
        /// The index.
        index: PathBuf,
    },
    /// Two shards hold a tensor of the same name.
    #[error("tensor {tensor:?} is in both {} and {}", first.display(), second.display())]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// One shard.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// There is no tensor of this name.
    #[error("the checkpoint has no tensor {tensor:?}; it has {count} others{}", example(nearest.as_deref()))]
    NoTensor {
        /// The name asked for.
        tensor: String,
        /// The number of tensors there are.
        count: usize,
        /// One that sorts next to it.
        nearest: Option<String>,
    },
    /// Elements that are not floating-point numbers of 16 bits or more.
    #[error("tensor {tensor:?} is {dtype}; only F32, F16, BF16 and F64 can be read as numbers")]
    UnsupportedDtype {
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        dtype: Dtype,
    },
}

fn example(name: Option<&str>) -> String {
    name.map(|name| format!(", for example {name:?}")).unwrap_or_default()
}

/// Why one safetensors file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file ends inside the length of the header.
    #[error("truncated: a safetensors file starts with 8 bytes of header length, this has {found} bytes")]
    NoLength {
        /// The size of the file.
        found: usize,
    },
    /// A header longer than any honest one.
    #[error("the header claims {claimed} bytes; at most {MAX_HEADER_BYTES} are read")]
    TooLarge {
        /// The length in the file.
        claimed: u64,
    },
    /// The file ends inside the header.
    #[error("truncated: the header claims {claimed} bytes, {available} are left")]
    Truncated {
        /// The length in the file.
        claimed: u64,
        /// The bytes after the length.
        available: usize,
    },
    /// The header is not the JSON it should be.
    #[error("the header is not a safetensors header: {0}")]
    NotJson(serde_json::Error),
    /// The same name twice.
    #[error("tensor {tensor:?} appears twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that ends before it starts.
    #[error("tensor {tensor:?} ends at byte {end} of the data, before its start at {start}")]
    OffsetsReversed {
        /// The tensor.
        tensor: String,
        /// Its first byte in the data.
        start: usize,
        /// The end of its bytes in the data.
        end: usize,
    },
    /// Offsets past the end of the file.
    #[error("tensor {tensor:?} is at {start}..{end}, but the file holds {available} bytes of tensor data")]
    OffsetOutOfRange {
        /// The tensor.
        tensor: String,
        /// Its first byte in the data.
        start: usize,
        /// The end of its bytes in the data.
        end: usize,
        /// The bytes of data in the file.
        available: usize,
    },
    /// A shape with more elements than can be addressed.
    #[error("tensor {tensor:?} has the shape {shape:?}, whose size overflows")]
    ShapeOverflow {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A shape and a type that take another number of bytes.
    #[error("tensor {tensor:?} of shape {shape:?} and type {dtype} does not take the {found} bytes it is given")]
    WrongSize {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The type of its elements.
        dtype: Dtype,
        /// The bytes between its offsets.
        found: usize,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
    },
    /// Bytes that belong to no tensor.
    #[error("bytes {start}..{end} of the tensor data belong to no tensor")]
    Hole {
        /// The first such byte.
        start: usize,
        /// The end of the hole.
        end: usize,
    },
}

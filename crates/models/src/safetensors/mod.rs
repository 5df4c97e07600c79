//! Checkpoints in safetensors: one file, or shards with an index, as Hugging Face repositories hold them.
//!
//! A folder holds `model.safetensors`, or `model.safetensors.index.json` whose `weight_map` says which shard has which
//! tensor. Files are mapped, and tensors are views into them. Everything is checked when a checkpoint is opened; each
//! way to be malformed has its own [`CheckpointError`] or [`HeaderError`], with the file's path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::io;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

mod error;
mod header;

pub use ::safetensors::Dtype;
pub use error::{CheckpointError, HeaderError};

use crate::gguf::{TensorType, dequantise};
use crate::mapped::{Blob, Mapped};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of one safetensors file or of several shards.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    tensors: BTreeMap<String, TensorView>,
}

/// A tensor of a checkpoint, in its mapped file.
#[derive(Clone, Debug)]
pub struct TensorView {
    /// The name, unique in the checkpoint.
    pub name: String,
    /// The lengths of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The bytes: little-endian elements, the last dimension contiguous.
    pub blob: Blob,
}

/// The part of an index that matters here.
#[derive(Deserialize)]
struct Index {
    /// From the name of a tensor to the name of its shard.
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a folder that holds a checkpoint, a safetensors file, or an index of shards (`….index.json`).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        if !path.is_dir() {
            let is_index = path.extension() == Some(OsStr::new("json"));
            return if is_index { Self::open_shards(path) } else { Self::open_file(path) };
        }
        let (single, index) = (path.join(SINGLE), path.join(INDEX));
        match () {
            () if single.exists() => Self::open_file(&single),
            () if index.exists() => Self::open_shards(&index),
            () => Err(CheckpointError::NoCheckpoint { folder: path.to_owned() }),
        }
    }

    /// Parses one safetensors file that is mapped already.
    pub fn parse(file: &Mapped) -> Result<Self, HeaderError> {
        Ok(Self { tensors: header::read(file)?.into_iter().collect() })
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Result<&TensorView, CheckpointError> {
        self.tensors.get(name).ok_or_else(|| {
            let after = self.tensors.range::<str, _>((Bound::Included(name), Bound::Unbounded)).next();
            let nearest = after.or_else(|| self.tensors.last_key_value()).map(|(name, _)| name.clone());
            CheckpointError::NoTensor { tensor: name.to_owned(), count: self.tensors.len(), nearest }
        })
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorView> {
        self.tensors.values()
    }

    fn open_file(path: &Path) -> Result<Self, CheckpointError> {
        let file = Mapped::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        Self::parse(&file).map_err(|error| CheckpointError::Header { path: path.to_owned(), error })
    }

    fn open_shards(index_path: &Path) -> Result<Self, CheckpointError> {
        let index = read_index(index_path)?;
        let mut shards: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for (tensor, shard) in index.weight_map {
            shards.entry(shard_path(index_path, &tensor, shard)?).or_default().push(tensor);
        }
        let mut tensors = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for (path, expected) in shards {
            let shard = Self::open_file(&path).map_err(|error| name_missing(error, index_path, &expected[0]))?;
            if let Some(tensor) = expected.into_iter().find(|tensor| !shard.contains(tensor)) {
                return Err(CheckpointError::NotInShard { tensor, shard: path, index: index_path.to_owned() });
            }
            for (name, tensor) in shard.tensors {
                match origins.entry(name.clone()) {
                    Entry::Vacant(origin) => origin.insert(path.clone()),
                    Entry::Occupied(origin) => {
                        let (tensor, first) = origin.remove_entry();
                        return Err(CheckpointError::DuplicateTensor { tensor, first, second: path });
                    }
                };
                tensors.insert(name, tensor);
            }
        }
        Ok(Self { tensors })
    }
}

impl TensorView {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        // The parser has checked that the product does not overflow.
        self.shape.iter().product()
    }

    /// Whether the elements can be read as numbers.
    pub fn check_float(&self) -> Result<(), CheckpointError> {
        self.float_type().map(drop)
    }

    /// The elements as `f32`: exact for F32, F16 and BF16, rounded for F64.
    pub fn to_f32(&self) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; self.elements()];
        // Cannot fail: the type is a floating-point one, and the parser has checked the number of bytes.
        dequantise(self.float_type()?, self.blob.bytes(), &mut values).map_err(|_| self.unsupported())?;
        Ok(values)
    }

    fn float_type(&self) -> Result<TensorType, CheckpointError> {
        match self.dtype {
            Dtype::F32 => Ok(TensorType::F32),
            Dtype::F16 => Ok(TensorType::F16),
            Dtype::BF16 => Ok(TensorType::BF16),
            Dtype::F64 => Ok(TensorType::F64),
            _ => Err(self.unsupported()),
        }
    }

    fn unsupported(&self) -> CheckpointError {
        CheckpointError::UnsupportedDtype { tensor: self.name.clone(), dtype: self.dtype }
    }
}

fn read_index(path: &Path) -> Result<Index, CheckpointError> {
    let file = Mapped::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(file.bytes()).map_err(|source| CheckpointError::Index { path: path.to_owned(), source })
}

/// The path of a shard, which must be a plain file name: an index must not make us open files elsewhere.
fn shard_path(index: &Path, tensor: &str, shard: String) -> Result<PathBuf, CheckpointError> {
    let mut components = Path::new(&shard).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) if name == OsStr::new(&shard) => Ok(index.with_file_name(shard)),
        _ => Err(CheckpointError::ShardOutsideFolder { path: index.to_owned(), tensor: tensor.to_owned(), shard }),
    }
}

/// Says of a shard that is not there who asked for it.
fn name_missing(error: CheckpointError, index: &Path, tensor: &str) -> CheckpointError {
    match error {
        CheckpointError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
            CheckpointError::MissingShard { shard: path, index: index.to_owned(), tensor: tensor.to_owned() }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::tensor::TensorView as View;

    fn serialised(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.to_string(), View::new(*dtype, shape.to_vec(), bytes).expect("bytes of the right length"))
        });
        ::safetensors::serialize(views, None).expect("a valid file")
    }

    #[test]
    fn reads_what_the_reference_implementation_writes() {
        let file = serialised(&[
            ("f32", Dtype::F32, &[1, 2], &[0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0]),
            ("f16", Dtype::F16, &[2], &[0, 0x3C, 0, 0xC0]),
            ("bf16", Dtype::BF16, &[2], &[0x80, 0x3F, 0, 0xC0]),
            ("f64", Dtype::F64, &[2, 1], &[0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0xC0]),
            ("ids", Dtype::I64, &[0], &[]),
        ]);
        let checkpoint = Checkpoint::parse(&Mapped::from(file)).expect("a valid file");
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["bf16", "f16", "f32", "f64", "ids"]);
        for name in ["f32", "f16", "bf16", "f64"] {
            let tensor = checkpoint.tensor(name).expect("a tensor that is there");
            assert_eq!(tensor.to_f32().expect("a floating-point type"), [1.0, -2.0], "{name}");
        }
        assert_eq!(checkpoint.tensor("f64").expect("there").shape, [2, 1]);
        let error = checkpoint.tensor("ids").expect("there").to_f32().expect_err("integers");
        assert_eq!(error.to_string(), "tensor \"ids\" is I64; only F32, F16, BF16 and F64 can be read as numbers");
        let error = checkpoint.tensor("f23").expect_err("not there");
        assert_eq!(error.to_string(), "the checkpoint has no tensor \"f23\"; it has 5 others, for example \"f32\"");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = serialised(&[("a", Dtype::F32, &[2], &[0; 8]), ("b", Dtype::F16, &[1], &[0; 2])]);
        for length in 0..file.len() {
            let error = Checkpoint::parse(&Mapped::from(file[..length].to_vec())).err();
            assert!(error.is_some(), "cut to {length} of {} bytes", file.len());
        }
        assert!(Checkpoint::parse(&Mapped::from(file)).is_ok());
    }

    #[test]
    fn shards_are_one_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("writable");
        write("1.safetensors", &serialised(&[("a", Dtype::F16, &[1], &[0, 0x3C])]));
        write("2.safetensors", &serialised(&[("b", Dtype::F16, &[1], &[0, 0xC0])]));
        write(INDEX, br#"{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#);
        for path in [folder.path().to_owned(), folder.path().join(INDEX)] {
            let checkpoint = Checkpoint::open(path).expect("a valid checkpoint");
            assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(checkpoint.tensor("b").and_then(TensorView::to_f32).expect("readable"), [-2.0]);
        }
    }
}

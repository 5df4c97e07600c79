//! Writing a GGUF file: what the parent module reads, byte for byte.
//!
//! Tensors are written one after the other, each at the next multiple of the alignment. A file appears under its name
//! only when it is whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::metadata::Metadata;
use super::tensor::{MAX_DIMENSIONS, TensorInfo};
use super::value::{Array, Value};
use super::{Gguf, alignment};

/// The version that is written.
const VERSION: u32 = 3;

/// Why a GGUF file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufWriteError {
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The parts make no file that could be read again.
    #[error(transparent)]
    Malformed(#[from] GgufError),
}

impl Gguf {
    /// A file of `metadata` and `tensors`, ready to be written. What a reader would refuse is refused here: names that are there
    /// twice, shapes that ggml has not, bytes that are not as many as shape and type say.
    pub fn new(metadata: Metadata, tensors: Vec<TensorInfo>) -> Result<Self, GgufError> {
        alignment(&metadata)?;
        let mut names = HashSet::new();
        for tensor in &tensors {
            check(tensor)?;
            if !names.insert(&tensor.name) {
                return Err(GgufError::DuplicateTensor { tensor: tensor.name.clone() });
            }
        }
        Ok(Self::of_parts(VERSION, metadata, tensors))
    }

    /// Writes the file to `path`, over a file that is there; `progress` is told the bytes of tensors as they are written.
    pub fn write(&self, path: &Path, mut progress: impl FnMut(u64)) -> Result<(), GgufWriteError> {
        let failed = |source| GgufWriteError::Io { path: path.into(), source };
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let alignment = alignment(&self.metadata)?;
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let file = File::create(&part).map_err(failed)?;
        let written = self.write_parts(&file, alignment, &mut progress);
        let written = written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            // What failed is the error that matters.
            let _ = fs::remove_file(&part);
        }
        written.map_err(failed)
    }

    fn write_parts(&self, file: &File, alignment: usize, progress: &mut impl FnMut(u64)) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        let header = self.header(alignment);
        out.write_all(&header)?;
        let mut position = pad(&mut out, header.len(), alignment)?;
        for tensor in &self.tensors {
            let bytes = tensor.blob.bytes();
            out.write_all(bytes)?;
            position = pad(&mut out, position + bytes.len(), alignment)?;
            progress(bytes.len() as u64);
        }
        out.flush()
    }

    /// Everything before the padding that precedes the tensors.
    fn header(&self, alignment: usize) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            string(&mut out, key);
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|&length| out.extend((length as u64).to_le_bytes()));
            out.extend(tensor.ty.number().to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.blob.bytes().len()).next_multiple_of(alignment);
        }
        out
    }
}

/// Whether a reader would take `tensor`.
fn check(tensor: &TensorInfo) -> Result<(), GgufError> {
    let TensorInfo { name, shape, ty, blob } = tensor;
    let dimensions = shape.len() as u32;
    if dimensions > MAX_DIMENSIONS {
        return Err(GgufError::TooManyDimensions { tensor: name.clone(), found: dimensions });
    }
    let lengths = shape.iter().map(|&length| length as u64).collect();
    let (_, expected) = super::tensor::checked_shape(name, lengths, *ty)?;
    let found = blob.bytes().len();
    match found == expected {
        true => Ok(()),
        false => Err(GgufError::WrongSize { tensor: name.clone(), ty: *ty, expected, found }),
    }
}

/// Writes zeros up to a multiple of `alignment`, which is returned.
fn pad(out: &mut impl Write, position: usize, alignment: usize) -> io::Result<usize> {
    let end = position.next_multiple_of(alignment);
    io::copy(&mut io::Read::take(io::repeat(0), (end - position) as u64), out)?;
    Ok(end)
}

/// A length, then the bytes of the text.
fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Value {
    /// Appends the number of the type and the value.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.type_number().to_le_bytes());
        match self {
            Value::U8(value) => out.extend(value.to_le_bytes()),
            Value::I8(value) => out.extend(value.to_le_bytes()),
            Value::U16(value) => out.extend(value.to_le_bytes()),
            Value::I16(value) => out.extend(value.to_le_bytes()),
            Value::U32(value) => out.extend(value.to_le_bytes()),
            Value::I32(value) => out.extend(value.to_le_bytes()),
            Value::U64(value) => out.extend(value.to_le_bytes()),
            Value::I64(value) => out.extend(value.to_le_bytes()),
            Value::F32(value) => out.extend(value.to_le_bytes()),
            Value::F64(value) => out.extend(value.to_le_bytes()),
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::String(value) => string(out, value),
            Value::Array(values) => values.write(out),
        }
    }
}

impl Array {
    /// Appends the number of the elements' type, the count and the elements.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.element_number().to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        match self {
            Array::U8(values) => out.extend(values),
            Array::I8(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::U16(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::I16(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::U32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::I32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::U64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::I64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::F32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::F64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
            Array::Bool(values) => out.extend(values.iter().map(|&value| u8::from(value))),
            Array::String(values) => values.iter().for_each(|value| string(out, value)),
            Array::Array(values) => values.iter().for_each(|value| value.write(out)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::TensorType;
    use crate::mapped::{Blob, Mapped};

    fn tensor(name: &str, shape: &[usize], ty: TensorType) -> TensorInfo {
        let elements = shape.iter().product();
        let bytes: Vec<u8> = (0..ty.bytes_for(elements).unwrap()).map(|i| (i * 7 + name.len()) as u8).collect();
        TensorInfo { name: name.into(), shape: shape.into(), ty, blob: Blob::from(bytes) }
    }

    fn every_value() -> Metadata {
        let nested = Array::Array(vec![Array::U8(vec![1, 2]), Array::String(vec!["a".into(), String::new()])]);
        let values: Vec<(&str, Value)> = vec![
            ("u8", 1u8.into()),
            ("i8", (-1i8).into()),
            ("u16", 300u16.into()),
            ("i16", (-300i16).into()),
            ("u32", 70_000u32.into()),
            ("i32", (-70_000i32).into()),
            ("u64", (1u64 << 40).into()),
            ("i64", (-(1i64 << 40)).into()),
            ("f32", 0.1f32.into()),
            ("f64", 0.1f64.into()),
            ("bool", true.into()),
            ("string", "grüß".into()),
            ("u8s", vec![1u8, 2].into()),
            ("i8s", vec![-1i8].into()),
            ("u16s", vec![1u16].into()),
            ("i16s", vec![-1i16, 2].into()),
            ("u32s", vec![1u32].into()),
            ("i32s", vec![1i32, -2].into()),
            ("u64s", vec![1u64].into()),
            ("i64s", vec![-1i64].into()),
            ("f32s", vec![1.5f32].into()),
            ("f64s", vec![1.5f64].into()),
            ("bools", vec![true, false].into()),
            ("strings", vec!["x".to_owned(), "yz".to_owned()].into()),
            ("empty", Vec::<f32>::new().into()),
            ("nested", Value::Array(nested)),
        ];
        values.into_iter().collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        for alignment in [None, Some(64u32)] {
            let mut metadata = every_value();
            alignment.map(|alignment| metadata.insert("general.alignment", alignment));
            let tensors = TensorType::all().map(|ty| tensor(ty.name(), &[3, ty.block_size()], ty)).chain([tensor(
                "one",
                &[5],
                TensorType::F32,
            )]);
            let file = Gguf::new(metadata, tensors.collect()).unwrap();
            let mut bytes = 0;
            file.write(&path, |more| bytes += more).unwrap();
            let read = Gguf::open(&path).unwrap();
            assert_eq!(read.metadata(), file.metadata());
            assert_eq!(read.tensors().len(), file.tensors().len());
            for (read, written) in read.tensors().iter().zip(file.tensors()) {
                assert_eq!((&read.name, &read.shape, read.ty), (&written.name, &written.shape, written.ty));
                assert_eq!(read.blob.bytes(), written.blob.bytes(), "{}", read.name);
            }
            assert_eq!(bytes, file.tensors().iter().map(|tensor| tensor.blob.bytes().len() as u64).sum::<u64>());
            assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside the file");
        }
    }

    #[test]
    fn nothing_is_written_that_could_not_be_read() {
        let file = |tensors: Vec<TensorInfo>| Gguf::new(Metadata::default(), tensors).unwrap_err().to_string();
        let one = || tensor("a", &[2], TensorType::F32);
        assert!(file(vec![one(), one()]).contains("\"a\""));
        let error = file(vec![TensorInfo { shape: vec![3], ..one() }]);
        assert!(error.contains("12") && error.contains('8'), "{error}");
        assert!(file(vec![TensorInfo { ty: TensorType::Q8_0, ..one() }]).contains("Q8_0"));
        assert!(file(vec![TensorInfo { shape: vec![1; 5], ..one() }]).contains('5'));
        let folder = tempfile::tempdir().unwrap();
        let empty = Gguf::new(Metadata::default(), Vec::new()).unwrap();
        let error = empty.write(folder.path(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
        assert!(empty.write(&folder.path().join("none/model.gguf"), |_| {}).is_err());
        empty.write(&folder.path().join("empty.gguf"), |_| {}).unwrap();
        assert_eq!(Gguf::parse(Mapped::open(folder.path().join("empty.gguf")).unwrap()).unwrap().tensors().len(), 0);
    }
}

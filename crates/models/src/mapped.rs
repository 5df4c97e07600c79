//! Read-only bytes shared by everything that points into them: a mapped file, a buffer in memory, or a part of the program.
//!
//! Weights are never copied out of their file: a [`Blob`] names a range of a [`Mapped`] and keeps the mapping alive.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

/// A shared handle on read-only bytes. Cloning copies the handle, not the bytes.
#[derive(Clone)]
pub struct Mapped {
    backing: Arc<Backing>,
}

enum Backing {
    File(Mmap),
    Memory(Vec<u8>),
    Program(&'static [u8]),
}

impl Mapped {
    /// Maps the file at `path`. Anything but a regular file (a directory, a pipe) is an error.
    ///
    /// The file must not be changed while it is mapped: see [`map`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, io::Error> {
        let file = File::open(path)?;
        let attributes = file.metadata()?;
        if attributes.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a directory, not a file"));
        }
        if !attributes.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if attributes.len() == 0 {
            // Some systems refuse to map nothing.
            return Ok(Self::from(Vec::new()));
        }
        Ok(Self { backing: Arc::new(Backing::File(map(&file)?)) })
    }

    /// Bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self { backing: Arc::new(Backing::Program(bytes)) }
    }

    /// All the bytes.
    pub fn bytes(&self) -> &[u8] {
        match &*self.backing {
            Backing::File(map) => map,
            Backing::Memory(bytes) => bytes,
            Backing::Program(bytes) => bytes,
        }
    }

    /// The bytes of `range`, kept alive by the result; `None` if the range is not inside the file.
    pub fn blob(&self, range: Range<usize>) -> Option<Blob> {
        self.bytes().get(range.clone())?;
        Some(Blob { file: self.clone(), range })
    }
}

impl From<Vec<u8>> for Mapped {
    fn from(bytes: Vec<u8>) -> Self {
        Self { backing: Arc::new(Backing::Memory(bytes)) }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.backing {
            Backing::File(_) => "file",
            Backing::Memory(_) => "memory",
            Backing::Program(_) => "program",
        };
        write!(f, "Mapped({kind}, {} bytes)", self.bytes().len())
    }
}

/// A range of bytes inside a [`Mapped`], for example one tensor.
#[derive(Clone)]
pub struct Blob {
    file: Mapped,
    range: Range<usize>,
}

impl Blob {
    /// The bytes of the range.
    pub fn bytes(&self) -> &[u8] {
        // `Mapped::blob` is the only constructor and has checked the range.
        &self.file.bytes()[self.range.clone()]
    }

    /// Where the range is in its file, in bytes.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The file the range is in.
    pub fn file(&self) -> &Mapped {
        &self.file
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { file: Mapped::from(bytes), range }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({:?} of {:?})", self.range, self.file)
    }
}

/// Maps a regular, non-empty file read-only.
///
/// A program that shortens the file while it is mapped makes the next read of the missing pages a bus error, and one
/// that overwrites it changes weights under a running model. No library can prevent that; replace model files by
/// renaming a new file over the old name, which leaves existing mappings on the old content.
fn map(file: &File) -> Result<Mmap, io::Error> {
    // SAFETY: the mapping is private to this module, read-only, and handed out as `&[u8]` bounded by the life of
    // `Mmap`. That the file is not changed by others meanwhile is the documented duty of whoever calls `Mapped::open`.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_a_file_and_shares_it() -> Result<(), io::Error> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bytes");
        std::fs::write(&path, b"0123456789")?;
        let blob = Mapped::open(&path)?.blob(3..6).ok_or(io::ErrorKind::Other)?;
        // The handle that opened the file is gone; the blob keeps the mapping.
        assert_eq!(blob.bytes(), b"345");
        assert_eq!(format!("{blob:?}"), "Blob(3..6 of Mapped(file, 10 bytes))");
        Ok(())
    }

    #[test]
    fn an_empty_file_has_no_bytes_and_a_directory_is_an_error() -> Result<(), io::Error> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("empty");
        std::fs::write(&path, b"")?;
        assert!(Mapped::open(&path)?.bytes().is_empty());
        assert!(Mapped::open(folder.path()).is_err());
        assert!(Mapped::open(folder.path().join("missing")).is_err());
        Ok(())
    }

    #[test]
    fn ranges_outside_are_refused() {
        let mapped = Mapped::from(vec![1, 2, 3]);
        assert_eq!(mapped.blob(1..3).as_ref().map(Blob::bytes), Some(&[2, 3][..]));
        assert!(mapped.blob(1..4).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = mapped.blob(2..1);
        assert!(reversed.is_none());
        assert!(mapped.blob(usize::MAX - 1..usize::MAX).is_none());
    }
}

//! Running text from a file or a folder, made tokens of when it is opened.

use std::path::{Path, PathBuf};

use super::windows::Windows;
use super::{Codec, DataError, Source, SourceMethod};

headwise_spec::method! {
    /// Running text: a file, or all files of a folder, in windows that start anywhere and stop at the end of a file.
    pub struct Text {
        /// The file or folder.
        pub path: String = String::new(),
        /// Files whose path contains one of these are left out.
        pub exclude: Vec<String> = Vec::new(),
        /// Only files whose path contains one of these; none takes all.
        pub only: Vec<String> = Vec::new(),
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl SourceMethod for Text {
    fn path(&mut self) -> Option<&mut String> {
        Some(&mut self.path)
    }

    fn texts(&self) -> Result<Vec<String>, DataError> {
        files(self)?.iter().map(|path| read(path)).collect()
    }

    fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError> {
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        for path in files(self)? {
            starts.push(tokens.len());
            tokens.extend(codec.encode_whole(&read(&path)?)?);
        }
        Ok(Box::new(Windows::new(tokens, starts, Path::new(&self.path))?))
    }
}

/// The files of a source, in the order of their paths.
pub(super) fn files(spec: &Text) -> Result<Vec<PathBuf>, DataError> {
    let path = Path::new(&spec.path);
    let mut found = Vec::new();
    collect(path, &mut found)?;
    found.sort();
    let named = |path: &Path, parts: &[String]| {
        let path = path.to_string_lossy();
        parts.iter().any(|part| path.contains(part.as_str()))
    };
    found.retain(|path| !named(path, &spec.exclude) && (spec.only.is_empty() || named(path, &spec.only)));
    match found.is_empty() {
        true => Err(DataError::NoFiles { path: path.into() }),
        false => Ok(found),
    }
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let failed = |source| DataError::Io { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        found.push(path.into());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        collect(&entry.map_err(failed)?.path(), found)?;
    }
    Ok(())
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.into(), source })?;
    String::from_utf8(bytes)
        .map_err(|error| DataError::NotText { path: path.into(), at: error.utf8_error().valid_up_to() })
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    fn source(folder: &Path, spec: Text) -> Result<Box<dyn Source>, DataError> {
        Text { path: folder.display().to_string(), ..spec }.open(&Codec::Bytes)
    }

    #[test]
    fn an_epoch_has_every_window_once_and_files_are_apart() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "abcdefghij").unwrap();
        std::fs::write(folder.path().join("b.txt"), "0123456789").unwrap();
        let source = source(folder.path(), Text::default()).unwrap();
        let slot = Slot { seed: 3, stage: 0, step: 0, index: 0, length: 4 };
        let text = |ids: &[u32]| ids.iter().map(|&id| char::from(id as u8)).collect::<String>();
        let documents: Vec<_> =
            (0..4).flat_map(|index| source.documents(&slot, index, &Codec::Bytes).unwrap()).collect();
        let mut shown: Vec<String> = documents.iter().map(|document| text(&document.ids)).collect();
        shown.sort();
        // 16 of the 19 tokens after others, in windows of 4; the third window reaches from one file into the other.
        assert_eq!(shown, ["01", "2345", "abcd", "efgh", "i"]);
        for document in &documents {
            let (ids, answers) = (text(&document.ids), text(&document.answers));
            assert_eq!(ids.get(1..).unwrap_or_default(), &answers[..answers.len().saturating_sub(1)]);
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            assert!(digits(&(ids.clone() + &answers)) || !(ids + &answers).bytes().any(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(source(folder.path(), Text::default()), Err(DataError::NoFiles { .. })));
        std::fs::write(folder.path().join("a.txt"), "").unwrap();
        assert!(matches!(source(folder.path(), Text::default()), Err(DataError::Empty { .. })));
        std::fs::write(folder.path().join("b.txt"), [b'a', 0xff]).unwrap();
        assert!(matches!(source(folder.path(), Text::default()), Err(DataError::NotText { at: 1, .. })));
        let only = Text { exclude: vec!["b.".into()], ..Text::default() };
        assert!(matches!(source(folder.path(), only), Err(DataError::Empty { .. })));
        assert!(matches!(source(Path::new("no such"), Text::default()), Err(DataError::Io { .. })));
    }
}

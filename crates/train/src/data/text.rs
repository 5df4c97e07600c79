//! Running text from a file or a folder, cut into windows.

use std::path::{Path, PathBuf};

use super::permutation::Permutation;
use super::{Codec, DataError, Slot};
use crate::objective::Document;

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

/// The tokens of a text.
#[derive(Debug)]
pub struct TextSource {
    tokens: Vec<u32>,
    /// Where every file starts, and the end.
    starts: Vec<usize>,
}

impl TextSource {
    /// Reads the files that `spec` names.
    pub fn open(spec: &Text, codec: &Codec) -> Result<Self, DataError> {
        let mut source = Self { tokens: Vec::new(), starts: vec![0] };
        for path in files(spec)? {
            source.tokens.extend(codec.encode(&read(&path)?)?);
            source.tokens.extend(codec.end());
            source.starts.push(source.tokens.len());
        }
        match source.tokens.len() {
            0 | 1 => Err(DataError::Empty { path: spec.path.clone().into() }),
            _ => Ok(source),
        }
    }

    /// The window of a sequence: in every epoch each window comes once, in an order of its own.
    pub fn documents(&self, slot: &Slot, index: u64) -> Vec<Document> {
        let length = slot.length.min(self.tokens.len() - 1);
        let windows = ((self.tokens.len() - 1) / length) as u64;
        let (epoch, place) = (index / windows, index % windows);
        let window = Permutation::new(windows, slot.seed, slot.stage, epoch).at(place);
        // Every epoch cuts elsewhere.
        let spare = self.tokens.len() - 1 - windows as usize * length;
        let shift = (epoch as usize * 7919) % (spare + 1);
        let start = shift + window as usize * length;
        self.split(start, start + length + 1)
    }

    /// The tokens of a range, cut where files begin.
    fn split(&self, start: usize, end: usize) -> Vec<Document> {
        let inner = self.starts.iter().copied().filter(|&cut| start < cut && cut < end);
        let cuts: Vec<usize> = std::iter::once(start).chain(inner).chain([end]).collect();
        cuts.windows(2).map(|cut| Document::text(&self.tokens[cut[0]..cut[1]])).collect()
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
    use super::*;

    fn source(folder: &Path, spec: Text) -> Result<TextSource, DataError> {
        TextSource::open(&Text { path: folder.display().to_string(), ..spec }, &Codec::Bytes)
    }

    #[test]
    fn an_epoch_has_every_window_once_and_files_are_apart() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "abcdefghij").unwrap();
        std::fs::write(folder.path().join("b.txt"), "0123456789").unwrap();
        let source = source(folder.path(), Text::default()).unwrap();
        let slot = Slot { seed: 3, stage: 0, step: 0, index: 0, length: 4 };
        let text = |ids: &[u32]| ids.iter().map(|&id| char::from(id as u8)).collect::<String>();
        let documents: Vec<_> = (0..4).flat_map(|index| source.documents(&slot, index)).collect();
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

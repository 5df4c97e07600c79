//! Readers of the Long Range Arena's published data from local files: reviews, pairs of documents, pictures.
//!
//! They give the same samples as the generators that stand in for the data: [`crate::ByteSentiment`],
//! [`crate::ByteRetrieval`] and [`crate::ShapeImages`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::classify::{LabelledSample, byte_tokens};

/// Pixels of a CIFAR-10 picture.
const PIXELS: usize = 32 * 32;
/// Bytes of a CIFAR-10 record: the class, then a plane each of red, green and blue.
const RECORD: usize = 1 + 3 * PIXELS;

/// Why files gave no samples.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system did not let a file or folder be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in a file or folder.
    #[error("{} holds no {what}", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A line is not what it should be.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not one of CIFAR-10's.
    #[error("{} is no CIFAR-10 file in binary form: {problem}", path.display())]
    Cifar {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads texts from a folder with one folder of `.txt` files per class, in the order of `classes`.
///
/// The review data of Maas et al. 2011 has this form: `read_text_folders("aclImdb/train", &["neg", "pos"], 1000)`. The
/// first `length` bytes of each file become tokens; files come in the order of their names, class by class.
pub fn read_text_folders(
    folder: impl AsRef<Path>,
    classes: &[&str],
    length: usize,
) -> Result<Vec<LabelledSample>, FileError> {
    let mut samples = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let path = folder.as_ref().join(class);
        let entries = fs::read_dir(&path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let entries: Vec<PathBuf> = entries.map_err(|source| FileError::Read { path: path.clone(), source })?;
        let mut files: Vec<PathBuf> =
            entries.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")).collect();
        if files.is_empty() {
            return Err(FileError::Empty { path, what: "file with the ending .txt" });
        }
        files.sort();
        for file in files {
            samples.push(LabelledSample { tokens: byte_tokens(&read(&file)?, length), label });
        }
    }
    Ok(samples)
}

/// Two documents and whether they belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPair {
    /// Their bytes.
    pub documents: [Vec<u8>; 2],
    /// The class, 0 or 1.
    pub label: usize,
}

impl DocumentPair {
    /// The first `length` bytes of each document as tokens, padded with 0.
    pub fn sample(&self, length: usize) -> LabelledSample {
        let padded = self.documents.each_ref().map(|document| {
            let mut tokens = byte_tokens(document, length);
            tokens.resize(length, 0);
            tokens
        });
        LabelledSample { tokens: padded.concat(), label: self.label }
    }
}

/// Reads pairs of documents from a file with the columns class, document, document, parted by tabs.
///
/// The class is 0 or 1. The benchmark's own files, with two more columns for names after the class, are read as well.
pub fn read_pairs(path: impl AsRef<Path>) -> Result<Vec<DocumentPair>, FileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.strip_suffix(b"\r").unwrap_or(line)));
    let pairs = lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(line, text)| pair(text).map_err(|problem| FileError::Line { path: path.to_owned(), line, problem }));
    let pairs: Vec<DocumentPair> = pairs.collect::<Result<_, _>>()?;
    match pairs.is_empty() {
        true => Err(FileError::Empty { path: path.to_owned(), what: "pair of documents" }),
        false => Ok(pairs),
    }
}

/// The pair of a line, or what is wrong with the line.
fn pair(line: &[u8]) -> Result<DocumentPair, String> {
    let columns: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
    let (class, documents) = match columns[..] {
        [class, first, second] | [class, _, _, first, second] => (class, [first, second]),
        _ => return Err(format!("{} columns, but it must be class, document, document", columns.len())),
    };
    let label = match class {
        b"0" | b"0.0" => 0,
        b"1" | b"1.0" => 1,
        other => return Err(format!("class `{}`, but it must be 0 or 1", String::from_utf8_lossy(other))),
    };
    Ok(DocumentPair { documents: documents.map(<[u8]>::to_vec), label })
}

/// Reads the pictures of a CIFAR-10 file in binary form, e.g. `data_batch_1.bin`, as 1024 grey values each.
///
/// Grey is the luma of ITU-R BT.601, `0.299 red + 0.587 green + 0.114 blue`, rounded.
pub fn read_cifar10(path: impl AsRef<Path>) -> Result<Vec<LabelledSample>, FileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let error = |problem| FileError::Cifar { path: path.to_owned(), problem };
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        return Err(error(format!("its {} bytes are no multiple of {RECORD}", bytes.len())));
    }
    let pictures = bytes.chunks_exact(RECORD).enumerate().map(|(number, record)| {
        let (label, colours) = (usize::from(record[0]), &record[1..]);
        if label > 9 {
            return Err(error(format!("class {label} of picture {number} is above 9")));
        }
        let grey = |pixel: usize| {
            let [red, green, blue] = [0, 1, 2].map(|plane| u32::from(colours[plane * PIXELS + pixel]));
            (299 * red + 587 * green + 114 * blue + 500) / 1000
        };
        Ok(LabelledSample { tokens: (0..PIXELS).map(grey).collect(), label })
    });
    pictures.collect()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_folders_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in
            [("neg/1.txt", "bad"), ("pos/2.txt", "very good"), ("pos/1.txt", "good"), ("unsup/1.txt", "?")]
        {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(folder.path().join("pos/notes.md"), "no review").unwrap();
        let samples = read_text_folders(folder.path(), &["neg", "pos"], 4).unwrap();
        let read: Vec<(usize, Vec<u32>)> = samples.into_iter().map(|sample| (sample.label, sample.tokens)).collect();
        let tokens = |text: &str| text.bytes().map(|byte| u32::from(byte) + 1).collect::<Vec<_>>();
        assert_eq!(read, [(0, tokens("bad")), (1, tokens("good")), (1, tokens("very"))]);

        let error = |class| read_text_folders(folder.path(), &[class], 4).unwrap_err().to_string();
        assert!(error("neutral").starts_with("cannot read ") && error("neutral").contains("neutral"));
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(error("empty").ends_with("empty holds no file with the ending .txt"));
    }

    #[test]
    fn pairs_of_three_and_five_columns_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            fs::write(file.path(), text).unwrap();
            read_pairs(file.path())
        };
        let pairs = read("1\tab\tabcd\r\n0.0\tP1\tP2\t\tz\n\n").unwrap();
        let samples: Vec<LabelledSample> = pairs.iter().map(|pair| pair.sample(3)).collect();
        assert_eq!(samples[0], LabelledSample { tokens: vec![98, 99, 0, 98, 99, 100], label: 1 });
        assert_eq!(samples[1], LabelledSample { tokens: vec![0, 0, 0, 123, 0, 0], label: 0 });
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("1\ta\tb\n1\ta\n").ends_with("line 2: 2 columns, but it must be class, document, document"));
        assert!(error("2\ta\tb\n").ends_with("line 1: class `2`, but it must be 0 or 1"));
        assert!(error("\n").ends_with("holds no pair of documents"));
        assert!(read_pairs("/no/such/file").unwrap_err().to_string().starts_with("cannot read /no/such/file"));
    }

    #[test]
    fn cifar_pictures_become_grey() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 2 * RECORD];
        bytes[0] = 7;
        // White, red and blue at the first three pixels of the first picture.
        for (plane, pixel) in [(0, 0), (1, 0), (2, 0), (0, 1), (2, 2)] {
            bytes[1 + plane * PIXELS + pixel] = 255;
        }
        fs::write(file.path(), &bytes).unwrap();
        let samples = read_cifar10(file.path()).unwrap();
        assert_eq!((samples.len(), samples[0].label, samples[1].label), (2, 7, 0));
        assert_eq!(samples[0].tokens[..4], [255, 76, 29, 0]);
        assert_eq!(samples[1].tokens, [0; 1024]);

        let error = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            read_cifar10(file.path()).unwrap_err().to_string()
        };
        assert!(error(&bytes[1..]).ends_with("its 6145 bytes are no multiple of 3073"));
        assert!(error(&[]).contains("its 0 bytes"));
        bytes[RECORD] = 10;
        assert!(error(&bytes).ends_with("class 10 of picture 1 is above 9"));
    }
}

//! Token files: texts that are tokens already, mapped into memory instead of read.
//!
//! Numbers are little-endian.
//!
//! | bytes | what they say |
//! |---|---|
//! | 0 to 7 | `HWTOKENS` |
//! | 8 to 11 | the version of the format, 1 |
//! | 12 to 15 | bytes of an id, 2 or 4 |
//! | 16 to 23 | the vocabulary of the tokenizer |
//! | 24 to 31 | how many ids there are |
//! | 32 to 39 | how many texts there are |
//! | 40 to 71 | the [hash](Codec::hash) of the tokenizer |
//! | 72 to 79 | CRC-32C of all above and of the starts |
//! | from 80 | the number of the first id of every text, 8 bytes each; then the ids |
//!
//! The ids have no checksum, because opening a file must not read all of it; one beyond the vocabulary stops the run that meets it.

mod write;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use headwise_models::mapped::{Blob, Mapped};

use super::windows::{TokenStore, Windows};
use super::{Codec, DataError, Source, SourceMethod};

pub use write::{Written, write_tokens};

headwise_spec::method! {
    /// Running text that `headwise tokenize` made a file of tokens of, in the windows of `text`; the file is not read at the start.
    pub struct Tokens {
        /// The file. Its tokenizer must be that of the run.
        pub path: String = String::new(),
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl SourceMethod for Tokens {
    fn path(&mut self) -> Option<&mut String> {
        Some(&mut self.path)
    }

    fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError> {
        let path = Path::new(&self.path);
        let file = Mapped::open(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        let read = Header::read(file.bytes()).and_then(|header| {
            header.check_tokenizer(codec)?;
            header.contents(&file)
        });
        let (ids, starts) = read.map_err(|problem| DataError::TokenFile { path: path.into(), problem })?;
        Ok(Box::new(Windows::new(ids, starts, path)?))
    }
}

const MAGIC: &[u8; 8] = b"HWTOKENS";
const VERSION: u32 = 1;
/// Bytes before the starts.
const HEADER: usize = 80;
/// Bytes of the header that its checksum covers.
const CHECKED: usize = 72;

/// What a token file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    /// Bytes of an id.
    width: u32,
    vocabulary: u64,
    ids: u64,
    texts: u64,
    /// The hash of the tokenizer.
    tokenizer: [u8; 32],
}

impl Header {
    /// The header with the checksum of itself and of `starts`.
    fn bytes(&self, starts: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.width.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.vocabulary.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.ids.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.texts.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.tokenizer);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKED]), starts);
        bytes[CHECKED..].copy_from_slice(&u64::from(checksum).to_le_bytes());
        bytes
    }

    /// The header of a file, checked against itself.
    fn read(file: &[u8]) -> Result<Self, String> {
        if !file.starts_with(MAGIC) {
            return Err("it does not begin as files of `headwise tokenize` do".into());
        }
        let Some(bytes) = file.first_chunk::<HEADER>() else {
            return Err(format!("it ends after {} bytes, within its header", file.len()));
        };
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(format!("its format has version {version}, and {VERSION} is known: write it again"));
        }
        let tokenizer = std::array::from_fn(|i| bytes[40 + i]);
        let header = Self {
            width: u32_at(bytes, 12),
            vocabulary: u64_at(bytes, 16),
            ids: u64_at(bytes, 24),
            texts: u64_at(bytes, 32),
            tokenizer,
        };
        if ![2, 4].contains(&header.width) {
            return Err(format!("its ids have {} bytes each, which must be 2 or 4: it is damaged", header.width));
        }
        let length = header.length();
        if length != Some(file.len()) {
            let expected = length.map_or("more than can be".to_owned(), |length| length.to_string());
            let (ids, texts, found) = (header.ids, header.texts, file.len());
            return Err(format!(
                "it has {found} bytes, and its {ids} ids of {texts} texts take {expected}: it was cut off or is damaged"
            ));
        }
        if header.bytes(&file[header.starts()]) != *bytes {
            return Err("the checksum of its header is not the one that was written: it is damaged".into());
        }
        Ok(header)
    }

    /// Bytes of the whole file.
    fn length(&self) -> Option<usize> {
        let starts = self.texts.checked_mul(8)?;
        let ids = self.ids.checked_mul(self.width.into())?;
        usize::try_from(starts.checked_add(ids)?.checked_add(HEADER as u64)?).ok()
    }

    /// Where the starts are, in a file of the right length.
    fn starts(&self) -> Range<usize> {
        HEADER..HEADER + 8 * self.texts as usize
    }

    fn check_tokenizer(&self, codec: &Codec) -> Result<(), String> {
        match self.tokenizer == codec.hash() && self.vocabulary == codec.vocabulary() as u64 {
            true => Ok(()),
            false => Err(format!(
                "its ids are those of another tokenizer, of {} tokens where that of the run has {}: write it again with \
                 `headwise tokenize`, or change `data.tokenizer`",
                self.vocabulary,
                codec.vocabulary()
            )),
        }
    }

    /// The ids, and where texts start.
    fn contents(&self, file: &Mapped) -> Result<(Ids, Vec<usize>), String> {
        let starts: Vec<u64> = file.bytes()[self.starts()].chunks_exact(8).map(|bytes| u64_at(bytes, 0)).collect();
        if !starts.is_sorted() || starts.last().is_some_and(|&last| last > self.ids) {
            return Err("its texts do not stand one after the other: it is damaged".into());
        }
        let bytes = file.blob(self.starts().end..file.bytes().len()).expect("a file of the right length");
        Ok((Ids { bytes, width: self.width as usize }, starts.into_iter().map(|start| start as usize).collect()))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Ids in a mapped file.
#[derive(Debug)]
struct Ids {
    bytes: Blob,
    width: usize,
}

impl TokenStore for Ids {
    fn count(&self) -> usize {
        self.bytes.bytes().len() / self.width
    }

    fn range(&self, range: Range<usize>) -> Cow<'_, [u32]> {
        let ids = self.bytes.bytes()[range.start * self.width..range.end * self.width].chunks_exact(self.width);
        Cow::Owned(match self.width {
            2 => ids.map(|id| u16::from_le_bytes([id[0], id[1]]).into()).collect(),
            _ => ids.map(|id| u32_at(id, 0)).collect(),
        })
    }
}

#[cfg(test)]
mod tests;

//! Writing a token file: room for the header, the ids text by text, then the header.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::text::{Text, files, read};
use super::{Codec, DataError, HEADER, Header};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Files that became texts.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
}

/// Writes the texts of `paths`, files and folders, as tokens of `codec` into the file `out`, which appears only whole. `said` is told the
/// file that is read next.
pub fn write_tokens(
    paths: &[PathBuf],
    codec: &Codec,
    out: &Path,
    said: &mut dyn FnMut(&Path),
) -> Result<Written, DataError> {
    let failed = |source| DataError::Io { path: out.into(), source };
    if out.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut texts = Vec::new();
    for path in paths {
        texts.extend(files(&Text { path: path.to_string_lossy().into_owned(), ..Text::default() })?);
    }
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let mut file = File::create(&part).map_err(failed)?;
    let written = write(&mut file, &texts, codec, out, said)
        .and_then(|written| std::fs::rename(&part, out).map(|()| written).map_err(failed));
    if written.is_err() {
        // What failed is the error that matters.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn write(
    file: &mut File,
    texts: &[PathBuf],
    codec: &Codec,
    out: &Path,
    said: &mut dyn FnMut(&Path),
) -> Result<Written, DataError> {
    let failed = |source| DataError::Io { path: out.into(), source };
    let vocabulary = codec.vocabulary();
    let width = if vocabulary <= 1 << 16 { 2 } else { 4 };
    let mut starts = Vec::with_capacity(8 * texts.len());
    let mut tokens = 0_u64;
    let mut writer = BufWriter::new(&mut *file);
    writer.seek(SeekFrom::Start((HEADER + 8 * texts.len()) as u64)).map_err(failed)?;
    for path in texts {
        said(path);
        starts.extend(tokens.to_le_bytes());
        let ids = codec.encode_whole(&read(path)?)?;
        for id in &ids {
            writer.write_all(&id.to_le_bytes()[..width]).map_err(failed)?;
        }
        tokens += ids.len() as u64;
    }
    if tokens < 2 {
        return Err(DataError::Empty { path: out.into() });
    }
    let header = Header {
        width: width as u32,
        vocabulary: vocabulary as u64,
        ids: tokens,
        texts: texts.len() as u64,
        tokenizer: codec.hash(),
    };
    writer.rewind().map_err(failed)?;
    writer.write_all(&header.bytes(&starts)).map_err(failed)?;
    writer.write_all(&starts).map_err(failed)?;
    writer.flush().map_err(failed)?;
    drop(writer);
    file.sync_all().map_err(failed)?;
    Ok(Written { texts: texts.len() as u64, tokens })
}

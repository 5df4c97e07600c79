//! The cache directory: where files lie, which of them are verified, and who may write.
//!
//! ```text
//! models/<file>                     a known model
//! models/<org>/<repo>/<path>        a file of the hub that is not in the table
//! …<file>.<checksum>.part           a download under way
//! …<file>.lock                      held while a process fetches the file
//! …<file>.verified                  checksum, size and time of modification of the file when it was last verified
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::checksum::sha256;
use super::error::{PullError, SourceError};
use super::hub;
use super::known::KnownModel;
use super::reference::Reference;
use super::{Progress, Result};

/// Where models are kept: `$HEADWISE_CACHE`, else the platform's cache directory + `headwise`.
pub fn directory() -> Result<PathBuf> {
    match std::env::var_os("HEADWISE_CACHE").filter(|directory| !directory.is_empty()) {
        Some(directory) => Ok(directory.into()),
        None => Ok(dirs::cache_dir().ok_or(PullError::NoCacheDirectory)?.join("headwise")),
    }
}

/// The cache directory and the local Hugging Face cache beside it.
pub(super) struct Cache {
    root: PathBuf,
    /// The `hub` directory of the Hugging Face cache, whether or not it exists.
    hugging_face: Option<PathBuf>,
}

/// What is remembered of a verified file.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified_nanoseconds: u128,
    sha256: String,
}

impl Cache {
    /// The cache at `root`, or at the default place.
    pub(super) fn open(root: Option<&Path>) -> Result<Self> {
        let root = match root {
            Some(root) => root.to_path_buf(),
            None => directory()?,
        };
        Ok(Self { root, hugging_face: hub::local_cache() })
    }

    /// A cache that looks for a Hugging Face cache at `hugging_face`.
    #[cfg(test)]
    pub(super) fn at(root: &Path, hugging_face: Option<&Path>) -> Self {
        Self { root: root.to_path_buf(), hugging_face: hugging_face.map(Path::to_path_buf) }
    }

    /// Where the file of `reference` lies, or would lie.
    pub(super) fn path(&self, reference: &Reference) -> PathBuf {
        let models = self.root.join("models");
        match reference {
            Reference::Known(model) => models.join(model.file),
            Reference::Hub(file) => models.join(&file.repository).join(&file.file),
        }
    }

    /// The file of `reference`, if it is on this machine, here or in the Hugging Face cache; verified if its checksum
    /// is known.
    pub(super) fn find(&self, reference: &Reference, progress: &mut dyn Progress) -> Result<Option<PathBuf>> {
        let path = self.path(reference);
        if path.is_file() {
            if let Some(model) = reference.known() {
                self.check(model, &path, progress)?;
            }
            return Ok(Some(path));
        }
        let Some(hugging_face) = &self.hugging_face else { return Ok(None) };
        for copy in hub::local_copies(hugging_face, &reference.hub_file()) {
            match reference.known() {
                None => return Ok(Some(copy)),
                // Another revision of the file is not an error: the next source has the right one.
                Some(model) => match self.check(model, &copy, progress) {
                    Ok(()) => return Ok(Some(copy)),
                    Err(error) => tracing::debug!("{error}"),
                },
            }
        }
        Ok(None)
    }

    /// Makes sure that `path` is the file of `model`: by the remembered verification, else by its checksum.
    fn check(&self, model: &KnownModel, path: &Path, progress: &mut dyn Progress) -> Result<()> {
        let corrupt = |what, found, expected| PullError::Corrupt {
            name: model.name.into(),
            path: path.into(),
            what,
            found,
            expected,
        };
        let mut stamp = stamp(path, model.sha256)?;
        if stamp.bytes != model.bytes {
            return Err(corrupt("size", format!("{} bytes", stamp.bytes), format!("{} bytes", model.bytes)));
        }
        let stamp_path = sibling(&self.path(&Reference::Known(*model)), "verified");
        let remembered = fs::read(&stamp_path).ok().and_then(|text| serde_json::from_slice::<Stamp>(&text).ok());
        if remembered.as_ref() == Some(&stamp) {
            return Ok(());
        }
        stamp.sha256 = sha256(path, progress)?;
        if stamp.sha256 != model.sha256 {
            return Err(corrupt("SHA-256", stamp.sha256, model.sha256.into()));
        }
        remember(&stamp_path, &stamp);
        Ok(())
    }

    /// Verifies the finished download `part` and gives it its final name. A part that is wrong is deleted: it cannot be
    /// resumed.
    pub(super) fn accept(
        &self,
        part: &Path,
        target: &Path,
        bytes: Option<u64>,
        expected: Option<&str>,
        progress: &mut dyn Progress,
    ) -> std::result::Result<(), SourceError> {
        let verdict = verify(part, bytes, expected, progress);
        if verdict.is_err() {
            let _ = fs::remove_file(part);
        }
        verdict?;
        fs::rename(part, target).map_err(PullError::io("rename the download to", target))?;
        if let Some(expected) = expected {
            remember(&sibling(target, "verified"), &stamp(target, expected)?);
        }
        Ok(())
    }

    /// Waits until no other process fetches `target`. The lock ends when the returned file is dropped.
    pub(super) fn lock(&self, target: &Path, progress: &mut dyn Progress) -> Result<File> {
        let path = sibling(target, "lock");
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(PullError::io("create", folder))?;
        let lock = File::create(&path).map_err(PullError::io("create", &path))?;
        if lock.try_lock().is_err() {
            progress.start("waiting for another process that fetches the same model", None);
            let locked = lock.lock();
            progress.finish();
            locked.map_err(PullError::io("lock", &path))?;
        }
        Ok(lock)
    }

    /// Where temporary files go: on the same file system as the models.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Where a download of `target` grows. The name carries the start of the checksum: a part of another file is never
/// resumed.
pub(super) fn part_path(target: &Path, checksum: &str) -> PathBuf {
    let start: String = checksum.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    sibling(target, &format!("{start}.part"))
}

fn verify(
    part: &Path,
    bytes: Option<u64>,
    expected: Option<&str>,
    progress: &mut dyn Progress,
) -> std::result::Result<(), SourceError> {
    let found = fs::metadata(part).map_err(PullError::io("read", part))?.len();
    if let Some(expected) = bytes.filter(|&expected| expected != found) {
        return Err(SourceError::WrongSize { found, expected });
    }
    let Some(expected) = expected else { return Ok(()) };
    let found = sha256(part, progress)?;
    if found == expected { Ok(()) } else { Err(SourceError::WrongChecksum { found, expected: expected.into() }) }
}

/// What a verified file at `path` with this checksum would be remembered as.
fn stamp(path: &Path, sha256: &str) -> Result<Stamp> {
    let metadata = fs::metadata(path).map_err(PullError::io("read", path))?;
    let modified = metadata.modified().map_err(PullError::io("read", path))?;
    let modified_nanoseconds = modified.duration_since(UNIX_EPOCH).map(|time| time.as_nanos()).unwrap_or_default();
    Ok(Stamp { path: path.into(), bytes: metadata.len(), modified_nanoseconds, sha256: sha256.into() })
}

/// Writes the side file. A cache that cannot be written is still a cache: the next start verifies again.
fn remember(path: &Path, stamp: &Stamp) {
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| Ok(serde_json::to_vec(stamp)?))
        .and_then(|text| fs::write(path, text));
    if let Err(error) = written {
        tracing::debug!("cannot remember the verification in {}: {error}", path.display());
    }
}

/// `path` with `.suffix` appended to its file name.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

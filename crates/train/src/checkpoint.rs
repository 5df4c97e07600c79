//! Saving a run so that it goes on bit for bit: weights, the optimiser's state, the average, and where the run was.
//!
//! A checkpoint is a folder `step-00000500`, or `best-00000500`, with files in Burn's own format, which keeps the identity of
//! parameters, and `state.json` with the SHA-256 of each. It appears under its name only whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Tokens shown.
    pub tokens: u64,
    /// The best loss of evaluations, and after how many steps.
    pub best: Option<(f64, u64)>,
    /// Evaluations since the best one.
    #[serde(default)]
    pub waiting: u64,
    /// The SHA-256 of the spec of the run.
    pub spec: String,
}

/// Why a run cannot be saved, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("{} is damaged: {reason}; remove the folder to go on from the checkpoint before it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The run was another one.
    #[error(
        "{} belongs to another spec: restore the spec it was made with, or start in another folder",
        path.display()
    )]
    OtherSpec {
        /// The checkpoint.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    state: State,
    /// SHA-256 by file name.
    files: BTreeMap<String, String>,
}

const MANIFEST: &str = "state.json";

/// Why a checkpoint is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To go on from.
    Last,
    /// Its evaluation was the best.
    Best,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Last => "step-",
            Self::Best => "best-",
        }
    }

    /// The checkpoint after so many steps in `folder`.
    pub fn path(self, folder: &Path, step: u64) -> PathBuf {
        folder.join(format!("{}{step:08}", self.prefix()))
    }
}

/// Writes a checkpoint of `parts` (file name and bytes) into `folder`, then removes all of its kind but the last `keep`.
pub fn save(
    folder: &Path,
    kind: Kind,
    state: &State,
    parts: &[(&str, Vec<u8>)],
    keep: usize,
) -> Result<PathBuf, CheckpointError> {
    let whole = kind.path(folder, state.step);
    let part = folder.join(format!(".{}{:08}.part", kind.prefix(), state.step));
    let written = write_whole(&part, &whole, state, parts);
    if written.is_err() {
        // Room for what is still to be saved; what failed is the error that matters.
        let _ = fs::remove_dir_all(&part);
    }
    written?;
    let mut old = list(folder, kind)?;
    old.truncate(old.len().saturating_sub(keep));
    for path in old {
        fs::remove_dir_all(&path).map_err(failed(&path))?;
    }
    Ok(whole)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { path, source }
}

/// Writes a checkpoint as the folder `part`, then calls it `whole`.
fn write_whole(part: &Path, whole: &Path, state: &State, parts: &[(&str, Vec<u8>)]) -> Result<(), CheckpointError> {
    if part.exists() {
        fs::remove_dir_all(part).map_err(failed(part))?;
    }
    fs::create_dir_all(part).map_err(failed(part))?;
    let files = parts.iter().map(|(name, bytes)| ((*name).to_owned(), hash(bytes))).collect();
    let manifest = serde_json::to_vec_pretty(&Manifest { state: state.clone(), files }).expect("plain data");
    let all = parts.iter().map(|(name, bytes)| (*name, bytes.as_slice())).chain([(MANIFEST, manifest.as_slice())]);
    for (name, bytes) in all {
        let path = part.join(name);
        write(&path, bytes).map_err(failed(&path))?;
    }
    if whole.exists() {
        fs::remove_dir_all(whole).map_err(failed(whole))?;
    }
    fs::rename(part, whole).map_err(failed(whole))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The checkpoints of a kind in `folder`, oldest first.
pub fn list(folder: &Path, kind: Kind) -> Result<Vec<PathBuf>, CheckpointError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| CheckpointError::Io { path: folder.into(), source })?,
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind.prefix()));
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect();
    found.sort();
    Ok(found)
}

/// The state of the checkpoint at `path` and the bytes of its files, checked.
pub fn load(path: &Path) -> Result<(State, BTreeMap<String, Vec<u8>>), CheckpointError> {
    let read = |name: &str| {
        let path = path.join(name);
        fs::read(&path).map_err(|source| CheckpointError::Io { path, source })
    };
    let damaged = |name: &str, reason: String| CheckpointError::Damaged { path: path.join(name), reason };
    let manifest: Manifest =
        serde_json::from_slice(&read(MANIFEST)?).map_err(|error| damaged(MANIFEST, error.to_string()))?;
    let mut parts = BTreeMap::new();
    for (name, expected) in manifest.files {
        let bytes = read(&name)?;
        if hash(&bytes) != expected {
            return Err(damaged(&name, "its checksum is not the one that was written".into()));
        }
        parts.insert(name, bytes);
    }
    Ok((manifest.state, parts))
}

/// The SHA-256 of `bytes` in hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(&folder.path().join("none"), Kind::Last).unwrap(), Vec::<PathBuf>::new());
        for step in [1, 20, 300] {
            let state = State { step, ..State::default() };
            save(folder.path(), Kind::Last, &state, &[("model.bpk", vec![1, 2, 3])], 2).unwrap();
        }
        save(folder.path(), Kind::Best, &State::default(), &[], 1).unwrap();
        let kept = list(folder.path(), Kind::Last).unwrap();
        let names: Vec<_> = kept.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["step-00000020", "step-00000300"]);
        let (state, parts) = load(&kept[1]).unwrap();
        assert_eq!((state.step, &parts["model.bpk"]), (300, &vec![1, 2, 3]));

        std::fs::write(kept[1].join("model.bpk"), [1, 2, 4]).unwrap();
        let error = load(&kept[1]).unwrap_err().to_string();
        assert!(error.contains("model.bpk is damaged") && error.contains("checkpoint before it"), "{error}");
        std::fs::write(kept[0].join("state.json"), "{").unwrap();
        assert!(matches!(load(&kept[0]), Err(CheckpointError::Damaged { .. })));
        std::fs::remove_file(kept[0].join("state.json")).unwrap();
        assert!(matches!(load(&kept[0]), Err(CheckpointError::Io { .. })));
    }
}

//! Earlier prompts on disk, to be gone on from by the next process.
//!
//! Every node is a [session](crate::Session) with its tokens as the note: a file of another model, or one that was changed, is passed over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Scheduler;
use super::prefix::PrefixCache;
use crate::{Engine, Session, SessionError};

/// What the files end with.
const ENDING: &str = "headwise-prefix";

/// What became of the files of a directory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Prompts that can be gone on from.
    pub prompts: usize,
    /// Files that were passed over, and why.
    pub passed_over: Vec<(PathBuf, SessionError)>,
}

impl Scheduler<'_> {
    /// Writes all earlier prompts to `directory`, in the place of those that are there; returns how many.
    pub fn save_prompts(&self, directory: &Path) -> Result<usize, SessionError> {
        self.prefix.save(self.engine, directory)
    }

    /// Takes over the earlier prompts in `directory`; there are none if it does not exist.
    pub fn load_prompts(&mut self, directory: &Path) -> Loaded {
        let mut loaded = Loaded::default();
        for path in files(directory) {
            match read(self.engine, &path) {
                Ok((ids, session)) => {
                    self.prefix.keep(&ids, &session.sequence);
                    loaded.prompts += 1;
                }
                Err(error) => loaded.passed_over.push((path, error)),
            }
        }
        self.prefix.hold();
        loaded
    }
}

fn read(engine: &Engine, path: &Path) -> Result<(Vec<u32>, Session), SessionError> {
    let session = Session::load(engine, path, None)?;
    let ids: Option<Vec<u32>> = session.note.split_whitespace().map(|id| id.parse().ok()).collect();
    match ids.filter(|ids| ids.len() == session.sequence.tokens()) {
        Some(ids) => Ok((ids, session)),
        None => Err(SessionError::Format("its tokens are not those of its text".into())),
    }
}

/// The files in `directory`, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = |path: &PathBuf| path.extension().is_some_and(|ending| ending == ENDING);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(ours).collect();
    files.sort();
    files
}

impl PrefixCache {
    fn save(&self, engine: &Engine, directory: &Path) -> Result<usize, SessionError> {
        let failed = |source| SessionError::File { path: directory.into(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let before = files(directory);
        let mut written = Vec::new();
        for (index, (ids, state)) in self.texts().enumerate() {
            let path = directory.join(format!("{index:05}.{ENDING}"));
            let note: Vec<String> = ids.iter().map(u32::to_string).collect();
            let session = Session { sequence: state.clone(), unread: Vec::new(), note: note.join(" ") };
            session.save(engine, &path)?;
            written.push(path);
        }
        for old in before.iter().filter(|old| !written.contains(old)) {
            std::fs::remove_file(old).map_err(|source| SessionError::File { path: old.clone(), source })?;
        }
        Ok(written.len())
    }

    fn texts(&self) -> impl Iterator<Item = (&Arc<[u32]>, &crate::Sequence)> {
        // What was read with an adapter belongs to it as well as to the model, and the next process may have others.
        let plain = self.nodes.iter().filter(|node| node.state.adapter().is_none());
        plain.map(|node| (&node.ids, &node.state))
    }
}

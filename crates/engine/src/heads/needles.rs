//! What layers pick of needles, as somebody has measured it with a text: kept in the cache directory as `heads/<key>-picks.json`.
//!
//! Random tokens ask for nothing in words, so the layer that picks best of them ([`HeadScores::picks`]) need not be the one that does of a
//! needle. Needles need a tokenizer, which the engine does not have: `headwise inspect heads --needles` measures and keeps them.
//!
//! [`HeadScores::picks`]: super::HeadScores::picks

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept::{self, key};
use super::picking;
use crate::{Engine, EngineError};

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    key: String,
    picks: Vec<Option<f64>>,
}

impl Engine {
    /// Says what share of needles every layer picks, 0–1, none for layers that do not see a whole text. If the model came from a file, this
    /// is kept in the cache directory and found there by the next process.
    pub fn keep_picks(&self, picks: &[Option<f64>]) {
        // Who has asked before goes on with what was known then.
        let _ = self.picks.set(Some(picks.to_vec()));
        if let Some((path, key)) = self.files.as_deref().and_then(place) {
            kept::write(&path, &Contents { key, picks: picks.to_vec() });
        }
    }

    /// The layer that picks tokens best: of needles where that is known, else of repeated random tokens. None if no layer sees a whole text.
    pub fn picking_layer(&self) -> Result<Option<usize>, EngineError> {
        let known =
            self.picks.get_or_init(|| self.files.as_deref().and_then(|files| read(files, self.spec().layers.len())));
        match known {
            // Where no layer finds anything, needles say nothing.
            Some(picks) if picks.iter().flatten().any(|share| *share > 0.0) => Ok(picking(picks)),
            _ => Ok(picking(self.head_scores()?.picks())),
        }
    }
}

/// Where the shares of the model in `files` are kept, and its key.
fn place(files: &Path) -> Option<(PathBuf, String)> {
    let key = key(files, &[]).ok()?;
    Some((kept::directory()?.join(format!("{key}-picks.json")), key))
}

/// The shares that are kept for the model in `files`, if they are those of so many layers.
fn read(files: &Path, layers: usize) -> Option<Vec<Option<f64>>> {
    let (path, key) = place(files)?;
    let contents: Contents = kept::read(&path)?;
    let sound = contents.picks.iter().flatten().all(|&share| kept::is_share(share));
    (contents.key == key && contents.picks.len() == layers && sound).then_some(contents.picks)
}

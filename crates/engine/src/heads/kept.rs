//! Scores of heads, kept in the cache directory: `heads/<key>.json`.
//!
//! The key is a hash of the model's files and of the text that was read, so that scores of another model, or of the same one
//! measured otherwise, are never taken for these. A file that is not what it should be is as good as none: scores are
//! measured again and it is written anew.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use headwise_models::decoder::DecoderSpec;
use headwise_models::pull;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{HeadScore, HeadScores, belong_to};

/// Where the scores of a model are kept.
pub(super) struct Kept {
    key: String,
    path: PathBuf,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    key: String,
    heads: Vec<HeadScore>,
    picks: Vec<Option<f64>>,
}

impl Kept {
    /// The place for the model in `files`, a file or a directory, on which `text` was read; none if its files cannot be read
    /// or there is no cache directory.
    pub fn of(files: &Path, text: &[u32]) -> Option<Self> {
        let key = key(files, text).ok()?;
        Some(Self { path: directory()?.join(format!("{key}.json")), key })
    }

    /// The scores, if they are there and belong to `model`.
    pub fn read(&self, model: &DecoderSpec) -> Option<HeadScores> {
        let contents: Contents = read(&self.path)?;
        let sound = |head: &HeadScore| [head.induction, head.echo, head.entropy].into_iter().all(is_share);
        let sound = contents.heads.iter().all(sound) && contents.picks.iter().flatten().all(|&picks| is_share(picks));
        let belongs = contents.key == self.key && contents.picks.len() == model.layers.len();
        let scores = HeadScores { heads: contents.heads, picks: contents.picks };
        (belongs && sound && belong_to(&scores.heads, model)).then_some(scores)
    }

    /// Keeps `scores`.
    pub fn write(&self, scores: &HeadScores) {
        let contents = Contents { key: self.key.clone(), heads: scores.heads.clone(), picks: scores.picks.clone() };
        write(&self.path, &contents);
    }
}

/// Where what is known of models is kept; none without a cache directory.
pub(super) fn directory() -> Option<PathBuf> {
    Some(pull::cache_directory().ok()?.join("heads"))
}

/// What `path` holds, if it is there and in that form.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes `contents` to `path`. A cache that cannot be written is still a cache: the next process measures again.
pub(super) fn write(path: &Path, contents: &impl Serialize) {
    let Ok(contents) = serde_json::to_vec_pretty(contents) else { return };
    // Under its name only when it is whole, whoever else writes.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = written.and_then(|()| fs::write(&part, contents));
    let written: io::Result<()> = written.and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
}

/// Whether `score` can be one: a row spends at most 1, up to rounding.
pub(super) fn is_share(score: f64) -> bool {
    (0.0..=1.001).contains(&score)
}

/// SHA-256 of the files of a model and of `text`, in hexadecimal digits.
pub(crate) fn key(files: &Path, text: &[u32]) -> io::Result<String> {
    let mut hasher = Sha256::new();
    if files.is_dir() {
        let mut paths: Vec<PathBuf> = fs::read_dir(files)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind)));
        paths.sort();
        for path in paths {
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            add(&mut hasher, &path)?;
        }
    } else {
        add(&mut hasher, files)?;
    }
    text.iter().for_each(|id| hasher.update(id.to_le_bytes()));
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Files of a directory that say what its model is.
const KINDS: [&str; 3] = ["safetensors", "json", "toml"];

fn add(hasher: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    hasher.update(file.metadata()?.len().to_le_bytes());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::engine;
    use super::*;

    #[test]
    fn a_file_of_something_else_is_as_good_as_none() {
        let engine = engine();
        let scores = engine.head_scores().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept { key: "abc".into(), path: folder.path().join("heads/abc.json") };
        assert_eq!(kept.read(engine.spec()), None, "no file");
        kept.write(scores);
        let found = kept.read(engine.spec()).expect("what was written is read");
        assert_eq!(found.retrieval(), scores.retrieval());
        for (found, written) in found.heads().iter().zip(scores.heads()) {
            assert!((found.induction - written.induction).abs() < 1e-12, "{found:?} {written:?}");
        }
        let other = Kept { key: "abd".into(), path: kept.path.clone() };
        assert_eq!(other.read(engine.spec()), None, "another model's");

        let text = fs::read_to_string(&kept.path).unwrap();
        let spoiled = [
            String::new(),
            text[..text.len() / 2].to_owned(),
            text.replacen("\"layer\": 0", "\"layer\": 7", 1),
            text.replacen("\"echo\"", "\"ecco\"", 1),
            r#"{"key": "abc", "heads": [], "picks": []}"#.to_owned(),
            text.replacen("\"picks\": [", "\"picks\": [0.5, ", 1),
        ];
        for spoiled in spoiled {
            fs::write(&kept.path, &spoiled).unwrap();
            assert_eq!(kept.read(engine.spec()), None, "{spoiled}");
        }
        for wrong in [2.0, -0.5, f64::NAN] {
            let mut scores = scores.clone();
            scores.heads[3].induction = wrong;
            kept.write(&scores);
            assert_eq!(kept.read(engine.spec()), None, "{wrong}");
        }
        kept.write(scores);
        assert!(kept.read(engine.spec()).is_some(), "written anew");
        assert_eq!(folder.path().join("heads").read_dir().unwrap().count(), 1, "no parts are left");
    }

    #[test]
    fn the_key_is_of_every_file_and_of_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("a.safetensors", "weights");
        file("config.json", "{}");
        let first = key(folder.path(), &[1, 2]).unwrap();
        assert_eq!(key(folder.path(), &[1, 2]).unwrap(), first);
        assert_ne!(key(folder.path(), &[1, 3]).unwrap(), first);
        file("notes.txt", "of no weight");
        assert_eq!(key(folder.path(), &[1, 2]).unwrap(), first);
        file("config.json", "{ }");
        assert_ne!(key(folder.path(), &[1, 2]).unwrap(), first);
        assert_ne!(key(&folder.path().join("a.safetensors"), &[1, 2]).unwrap(), first);
        assert!(key(&folder.path().join("missing"), &[]).is_err());
    }
}
